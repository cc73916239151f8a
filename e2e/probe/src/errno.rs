//! Names of error numbers, as the manual has them.

use std::io;

macro_rules! names {
    ($($name:ident)*) => { [$((libc::$name, stringify!($name))),*] };
}

pub fn name_of(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return format!("{:?}", error.kind());
    };
    let names = names!(
        EPERM ENOENT ESRCH EINTR EIO ENXIO EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR
        EISDIR EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC EROFS EMLINK EPIPE ENOSYS ELOOP EPROTONOSUPPORT
        ESOCKTNOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED
        ECONNRESET ECONNREFUSED EHOSTUNREACH ETIMEDOUT EDQUOT ENOKEY EOVERFLOW
    );
    names
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| format!("E{number}"), |(_, name)| (*name).to_owned())
}
