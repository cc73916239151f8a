//! Pages of the own program.

use std::os::raw::c_void;

/// Maps all of the program's pages in, those of its text and its constants. They are in the host's cache, so this costs
/// no reading; without it each is a fault when it is first touched, which makes half of what a start takes.
///
/// A kernel that does not know the advice, and a `/proc` that is not there, only leave the start as it was.
pub fn fault_in_own_program() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let own = fault_in_own_program as *const () as usize;
    let areas: Vec<Area<'_>> = maps.lines().filter_map(Area::parse).collect();
    let Some(program) = areas.iter().find(|area| area.contains(own)) else {
        return;
    };
    for area in &areas {
        if area.file == program.file && !area.is_writable {
            // SAFETY: the area is a mapping of this process and stays one; the advice changes nothing in it.
            unsafe {
                libc::madvise(
                    area.start as *mut c_void,
                    area.end - area.start,
                    libc::MADV_POPULATE_READ,
                );
            }
        }
    }
}

/// One line of `/proc/self/maps`.
struct Area<'a> {
    start: usize,
    end: usize,
    is_writable: bool,
    /// Device and inode: the program may have no path here.
    file: (&'a str, &'a str),
}

impl<'a> Area<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let is_writable = fields.next()?.contains('w');
        let _offset = fields.next()?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            is_writable,
            file: (fields.next()?, fields.next()?),
        })
    }

    fn contains(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let area = Area::parse("7f0000001000-7f0000003000 r-xp 00001000 fe:01 42    /bin/x y");
        let area = area.expect("a line of the table");
        assert_eq!(area.end - area.start, 0x2000);
        assert!(!area.is_writable && area.contains(0x7f00_0000_2fff));
        assert!(!area.contains(0x7f00_0000_3000));
        assert_eq!(area.file, ("fe:01", "42"));
        assert!(Area::parse("nonsense").is_none());
    }

    #[test]
    fn the_text_is_all_there_afterwards() {
        fault_in_own_program();
        let own = fault_in_own_program as *const () as usize;
        let table = std::fs::read_to_string("/proc/self/smaps").expect("a table of mappings");
        let lines = table.lines();
        let mut of_text = lines
            .skip_while(|line| !Area::parse(line).is_some_and(|area| area.contains(own)))
            .skip(1);
        let mut number = |name: &str| {
            let line = of_text.find(|line| line.starts_with(name));
            line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        };
        let (size, resident) = (number("Size:"), number("Rss:"));
        assert!(size.is_some_and(|size| size > 0));
        assert_eq!(size, resident);
    }
}
