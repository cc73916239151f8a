//! The parts of a sparse file that hold data.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};

use crate::cancel::Cancel;

/// Copied in one go, between two looks at whether the copy is still wanted.
const CHUNK_BYTES: u64 = 64 << 20;

/// The next range with data that begins at `from` or later, as start and end; None after the last.
pub fn next(file: &File, from: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= length {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        // No data after this place.
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end)))
}

/// Makes a file with the same content: sharing the blocks where the file system can, else copying the ranges
/// that hold data.
pub fn copy(from: &Path, to: &Path, cancel: &Cancel) -> io::Result<()> {
    let source = File::open(from)?;
    let target = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    if ioctl_ficlone(target.as_fd(), source.as_fd()).is_ok() {
        return Ok(());
    }
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut position = 0;
    while let Some((start, end)) = next(&source, position, length)? {
        let (mut read_at, mut write_at) = (start, start);
        while read_at < end {
            cancel.check()?;
            let left = usize::try_from((end - read_at).min(CHUNK_BYTES)).unwrap_or(usize::MAX);
            let copied = copy_file_range(
                &source,
                Some(&mut read_at),
                &target,
                Some(&mut write_at),
                left,
            )?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        position = end;
    }
    Ok(())
}
