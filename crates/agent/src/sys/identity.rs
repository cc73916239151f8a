//! Who the agent is to the kernel.

use std::io;

/// Becomes `uid` with `gid` and `groups`, keeping of root's rights only the one to signal any process of the
/// sandbox: what the user started by `sudo` must end with its session. Programs that the agent starts do not
/// inherit it.
///
/// Must run before there are threads.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: plain system calls with numbers and one slice that outlives the call; there is one thread.
    // JUSTIFICATION: rustix offers these per thread only, the C library for all threads.
    unsafe {
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::setresgid(gid, gid, gid))?;
        let keeps_capabilities =
            uid != 0 && libc::getuid() == 0 && libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0;
        check(libc::setresuid(uid, uid, uid))?;
        if keeps_capabilities {
            keep_only_kill()?;
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0))?;
        }
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn keep_only_kill() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_KILL: u32 = 1 << 5;
    let none = CapabilitySet {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let header = CapabilityHeader {
        version: VERSION_3,
        pid: 0,
    };
    // SAFETY: the header and the two sets have the layout that version 3 of the call prescribes.
    // JUSTIFICATION: neither std nor libc wrap the call.
    unsafe {
        let mut held = [none; 2];
        if libc::syscall(libc::SYS_capget, &raw const header, held.as_mut_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        // Where the one who started us has dropped it already, nothing is kept.
        let kill = held[0].permitted & CAP_KILL;
        let sets = [
            CapabilitySet {
                effective: kill,
                permitted: kill,
                inheritable: 0,
            },
            none,
        ];
        if libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Keeps other processes of the same user from reading our memory, which holds the token.
pub fn forbid_tracing() -> io::Result<()> {
    // SAFETY: the call takes plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })
}

/// Has the C library's allocator give memory back early and share its pools: idle memory is paid for by every
/// sandbox, speed of allocation by none.
///
/// Buffers of transfers are the exception. Memory that comes fresh from the kernel for each costs a fault for every
/// page, as much as the copy itself; so there is room for some of them until [`give_memory_back`].
pub fn keep_memory_small() {
    // SAFETY: plain numbers, before there are threads. JUSTIFICATION: there is no safe way to the allocator's
    // settings.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 << 20);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
    }
}

/// Gives back what the allocator keeps of memory that was freed.
pub fn give_memory_back() {
    // SAFETY: the call looks at the allocator's own books only, under its locks. JUSTIFICATION: there is no safe way
    // to it.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Marks all descriptors but the standard ones as not for children, whatever our parent left open.
pub fn keep_descriptors_from_children() {
    // SAFETY: the call takes plain numbers and closes nothing now. A kernel that lacks it (before 5.11) has our
    // parent's care only. JUSTIFICATION: neither std nor rustix wrap the call.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
