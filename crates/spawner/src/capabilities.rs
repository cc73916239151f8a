//! The capabilities that stay within reach inside a sandbox. All of them count in its own user namespace
//! only: root inside is nobody outside.

#![expect(unsafe_code, reason = "prctl has no safe form for the bounding set")]

use std::io;

/// What programs of an ordinary image need: owners and modes of files, changing users (`su`, `sudo`),
/// signals to own processes. `CAP_SYS_ADMIN`, `CAP_NET_ADMIN`, `CAP_SYS_PTRACE` and the rest are gone for
/// good once they are out of the bounding set.
const KEPT: [u32; 14] = [
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    8,  // CAP_SETPCAP
    10, // CAP_NET_BIND_SERVICE
    13, // CAP_NET_RAW
    18, // CAP_SYS_CHROOT
    27, // CAP_MKNOD
    29, // CAP_AUDIT_WRITE
    31, // CAP_SETFCAP
];

/// Takes everything else out of the bounding set. The set in force shrinks with the next exec.
pub fn drop_bounding() -> io::Result<()> {
    // 63 is the last number that the kernel's own mask has room for.
    for capability in (0..64_u32).filter(|number| !KEPT.contains(number)) {
        // SAFETY: plain numbers in, nothing is written to our memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) };
        if result != 0 {
            let error = io::Error::last_os_error();
            // EINVAL: this kernel has no capability of that number, nor of any higher one.
            if error.raw_os_error() == Some(libc::EINVAL) {
                return Ok(());
            }
            return Err(error);
        }
    }
    Ok(())
}
