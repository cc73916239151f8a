//! The two sides of a pseudo-terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use alcove_agent_api::PtySize;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, OptionalActions, Winsize, tcgetattr, tcgetpgrp, tcsetattr, tcsetwinsize,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::sys::watch_descriptor;

/// Between two tries on a terminal that nobody has, or had, open.
pub const HUNG_UP_INTERVAL: Duration = Duration::from_millis(50);

/// Our side. Closing it hangs up: the kernel sends SIGHUP to who is left on the terminal.
#[derive(Debug)]
pub struct Master {
    fd: AsyncFd<OwnedFd>,
}

/// Makes a terminal: our side, and the one that becomes a program's standard descriptors.
///
/// # Errors
/// The sandbox has no terminals, or all of them are taken.
pub fn open(size: PtySize) -> io::Result<(Master, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let mut modes = tcgetattr(&slave)?;
    // A backspace takes a whole character along, whatever its length.
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
    let master = Master {
        fd: watch_descriptor(master, Interest::READABLE | Interest::WRITABLE)?,
    };
    master.resize(size)?;
    Ok((master, slave))
}

impl Master {
    /// Waits for output and appends it to `buffer`, up to its capacity. Safe to drop and call again.
    ///
    /// # Errors
    /// Nobody has the other side open.
    pub async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut read_once = |fd: &OwnedFd| -> io::Result<()> {
            let room = rustix::buffer::spare_capacity(buffer);
            match rustix::io::read(fd, room)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            }
        };
        self.when_ready(Interest::READABLE, &mut read_once).await?;
        // The kernel hands out small pieces; what has come meanwhile goes along. A full buffer reads nothing, and
        // what is wrong will be so the next time.
        while read_once(self.fd.get_ref()).is_ok() {}
        Ok(())
    }

    /// Waits until the terminal takes input; how much it took. Safe to drop and call again.
    ///
    /// # Errors
    /// The terminal is broken.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |fd: &OwnedFd| Ok(rustix::io::write(fd.as_fd(), bytes)?);
        self.when_ready(Interest::WRITABLE, write).await
    }

    async fn when_ready<R>(
        &self,
        interest: Interest,
        mut act: impl FnMut(&OwnedFd) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let mut guard = self.fd.ready(interest).await?;
            let ready = guard.ready();
            match guard.try_io(|fd| act(fd.get_ref())) {
                Ok(result) => return result,
                // Once nobody had the other side open, the runtime calls us ready for ever; a program may have it
                // open again.
                Err(_) if ready.is_read_closed() || ready.is_write_closed() => {
                    sleep(HUNG_UP_INTERVAL).await;
                }
                Err(_) => {}
            }
        }
    }

    /// The process group in the foreground.
    ///
    /// # Errors
    /// Nobody has the other side open.
    pub fn foreground(&self) -> io::Result<Pid> {
        Ok(tcgetpgrp(self.fd.get_ref())?)
    }

    /// Sets the size; the kernel tells the programs on the terminal.
    ///
    /// # Errors
    /// The system's reason.
    pub fn resize(&self, size: PtySize) -> io::Result<()> {
        let size = Winsize {
            ws_col: size.cols(),
            ws_row: size.rows(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(self.fd.get_ref(), size)?)
    }
}
