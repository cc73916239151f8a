//! The spawner's own file tree: the least from which a sandbox's root can be put together.
//!
//! Every new process gets a copy of its parent's mounts, so a host with hundreds of them would pay for
//! each sandbox, and a long-lived spawner would keep them all busy. The spawner therefore leaves the host's
//! tree for one with an empty folder, `/proc` and the processor list.

#![expect(
    unsafe_code,
    reason = "mount and unshare have no safe form that takes what is needed here"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where a child attaches its root.
pub const ROOT_POINT: &str = "/root";

/// Where the host's processor list stands in the stage, for programs that count cores there.
pub const CPU_LIST: &str = "/cpu";

/// Leaves the host's tree. Afterwards no path of the host can be named any more.
///
/// # Errors
/// The first call that failed; the process is then between two trees and must end.
pub fn enter() -> io::Result<()> {
    // SAFETY: changes this process's own view only; there is one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;

    mount(
        "stage",
        "/tmp",
        "tmpfs",
        libc::MS_NOSUID,
        "size=64k,mode=0700",
    )?;
    let root = Path::new("/tmp");
    for folder in ["proc", "old", ROOT_POINT.trim_start_matches('/'), "cpu"] {
        fs::create_dir(root.join(folder))?;
    }
    mount("/proc", "/tmp/proc", "", libc::MS_BIND, "")?;
    let cpu_list = "/sys/devices/system/cpu";
    if Path::new(cpu_list).is_dir() {
        let target = format!("/tmp{CPU_LIST}");
        mount(cpu_list, &target, "", libc::MS_BIND, "")?;
        let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID;
        mount(
            "none",
            &target,
            "",
            flags | libc::MS_NODEV | libc::MS_NOEXEC,
            "",
        )?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;

    std::env::set_current_dir(root)?;
    rustix::process::pivot_root(".", "old")?;
    std::env::set_current_dir("/")?;
    rustix::mount::unmount("/old", rustix::mount::UnmountFlags::DETACH)?;
    fs::remove_dir("/old")
}

/// `mount(2)` with texts. An empty text stands for no value.
pub fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let text = |value: &str| CString::new(value).map_err(|_| io::ErrorKind::InvalidInput);
    let (source, target, kind, data) = (text(source)?, text(target)?, text(kind)?, text(data)?);
    // SAFETY: four strings that end in a zero byte and live until the call returns.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast::<libc::c_void>(),
        )
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
