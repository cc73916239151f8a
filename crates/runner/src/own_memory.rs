//! Memory of the process that keeps sandboxes: what it holds back without need is what sandboxes do not get.

use std::ffi::{c_int, c_void};

/// Of x86-64.
const PAGE_BYTES: u64 = 4096;

/// Gives back what the C library's allocator keeps of memory that was freed, and pages of the program that are not in use just now.
///
/// It takes some milliseconds, in which whoever allocates may wait, and pages that are used come back one by one.
pub fn give_back_memory() {
    trim();
    forget_own_program();
}

#[expect(unsafe_code, reason = "the allocator's books have no safe form")]
fn trim() {
    // SAFETY: the call looks at the allocator's own books only, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has the kernel take all pages of the program out of this process that were only read or run. They stay in the
/// kernel's cache, from where those that are used come back by themselves.
#[expect(unsafe_code, reason = "where a program lies has no safe form")]
fn forget_own_program() {
    // SAFETY: the function below is of the form that is asked for, and takes no data.
    unsafe {
        libc::dl_iterate_phdr(Some(forget_object), std::ptr::null_mut());
    }
}

/// Is called for the program first, and ends the walk.
#[expect(unsafe_code, reason = "as for its only caller")]
unsafe extern "C" fn forget_object(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    const ENDS: c_int = 1;
    // SAFETY: the C library gives a whole description, whose headers are as many as it says, for this call.
    let (at, headers) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
        (object.dlpi_addr, headers)
    };
    for header in headers {
        // What can be written holds what the loader and the program have put there, and is in no file.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = (at + header.p_vaddr) / PAGE_BYTES * PAGE_BYTES;
        let end = (at + header.p_vaddr + header.p_memsz).next_multiple_of(PAGE_BYTES);
        // SAFETY: this is a mapping of a file that nobody can write to, so what is taken out is read again.
        unsafe {
            libc::madvise(
                start as *mut c_void,
                usize::try_from(end - start).unwrap_or(0),
                libc::MADV_DONTNEED,
            );
        }
    }
    ENDS
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;
    use std::process::Command;

    use super::*;

    fn resident_pages() -> u64 {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        text.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Kilobytes of the program itself that are in memory.
    fn program_kib() -> u64 {
        let own = forget_own_program as *const () as u64;
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_own = false;
        for line in maps.lines() {
            let first = line.split_ascii_whitespace().next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                let number = |text| u64::from_str_radix(text, 16);
                if let (Ok(start), Ok(end)) = (number(start), number(end)) {
                    is_own = (start..end).contains(&own);
                }
            } else if is_own && let Some(rest) = line.strip_prefix("Rss:") {
                return rest.trim().strip_suffix(" kB").unwrap().parse().unwrap();
            }
        }
        panic!("the program is not in its own list");
    }

    const CHILD: &str = "ALCOVE_TEST_OWN_MEMORY";

    /// Runs a test of this module in a process of its own, since the others of this one take memory and run code meanwhile. Whether
    /// this is that process.
    fn is_alone(test: &str) -> bool {
        if std::env::var_os(CHILD).is_some() {
            return true;
        }
        let (_, module) = module_path!().split_once("::").unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--test-threads=1"])
            .arg(format!("{module}::{test}"))
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
        false
    }

    #[test]
    fn pages_of_the_program_go_and_come_back_when_they_are_run() {
        if !is_alone("pages_of_the_program_go_and_come_back_when_they_are_run") {
            return;
        }
        let before = program_kib();
        forget_own_program();
        let after = program_kib();
        assert!(after < before, "{after} of {before} KiB");
        // Whatever this needs was taken out as well.
        assert_eq!(format!("{:?}", "back".repeat(2)), "\"backback\"");
    }

    #[test]
    fn what_was_freed_is_given_back() {
        if !is_alone("what_was_freed_is_given_back") {
            return;
        }
        let pieces: Vec<Vec<u8>> = (0..20_000).map(|n| vec![1; 2000 + n % 7]).collect();
        // Something behind it keeps the allocator from giving it back by itself.
        let behind = Box::new([1_u8; 100]);
        let held = resident_pages();
        drop(pieces);
        trim();
        let left = resident_pages();
        assert!(left + 5000 < held, "{left} of {held} pages");
        assert_eq!(behind.len(), 100);
    }
}
