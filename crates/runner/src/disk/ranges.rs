//! The parts of a sparse file that hold data.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};

use crate::cancel::Cancel;

/// Threads that copy a file with much data. A disk that is asked for one piece at a time is idle between them; more
/// than this brought nothing on any disk that was tried.
const COPIERS: usize = 4;

/// Copied in one go, between two looks at whether the copy is still wanted.
const PIECE_BYTES: u64 = 1 << 20;

/// A file with less data than this is copied through the page cache, by one thread.
const LITTLE_BYTES: u64 = 16 << 20;

/// What direct input and output wants of addresses in memory and in files, at most.
const ALIGNMENT: usize = 4096;

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

/// As [`copy`], to its end.
pub fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    copy(from, to, &Cancel::never())
}

/// Makes a file with the same content: sharing the blocks where the file system can, else copying the ranges
/// that hold data. What is copied is not synced.
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
    let found = source.metadata()?;
    target.set_len(found.len())?;
    let pieces = Pieces {
        file: &source,
        length: found.len(),
        at: Mutex::new((0, 0)),
    };
    if found.blocks() * 512 < LITTLE_BYTES {
        return copy_pieces(&pieces, &source, &target, cancel);
    }
    // Past the page cache where that is possible: a disk is read from there by nobody, its device goes past it too.
    // What is written goes through it, and so is on its way while the next piece is read.
    let direct = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(from);
    let reader = direct.as_ref().unwrap_or(&source);
    std::thread::scope(|scope| {
        let copiers: Vec<_> = (0..COPIERS)
            .map(|_| scope.spawn(|| copy_pieces(&pieces, reader, &target, cancel)))
            .collect();
        copiers.into_iter().try_for_each(|copier| {
            copier
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread that copies panicked")))
        })
    })
}

/// What is left to be copied, taken piece by piece.
struct Pieces<'a> {
    file: &'a File,
    length: u64,
    /// The rest of the range that is being handed out, as start and end.
    at: Mutex<(u64, u64)>,
}

impl Pieces<'_> {
    /// The next piece, as start and end; None after the last.
    fn take(&self) -> io::Result<Option<(u64, u64)>> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, mut end) = *at;
        if start == end {
            match next(self.file, end, self.length)? {
                Some(range) => (start, end) = range,
                None => return Ok(None),
            }
        }
        let piece_end = end.min(start + PIECE_BYTES);
        *at = (piece_end, end);
        Ok(Some((start, piece_end)))
    }
}

fn copy_pieces(
    pieces: &Pieces<'_>,
    reader: &File,
    target: &File,
    cancel: &Cancel,
) -> io::Result<()> {
    let mut room = Vec::new();
    while let Some((start, end)) = pieces.take()? {
        cancel.check()?;
        let wanted = usize::try_from(end - start).unwrap_or(usize::MAX);
        let rounded = wanted.next_multiple_of(ALIGNMENT);
        if room.len() < rounded + ALIGNMENT {
            room.resize(rounded + ALIGNMENT, 0);
        }
        let first = room.as_ptr().align_offset(ALIGNMENT);
        let buffer = &mut room[first..first + rounded];
        let mut filled = 0;
        while filled < wanted {
            let count = reader.read_at(&mut buffer[filled..], start + filled as u64)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
        }
        target.write_all_at(&buffer[..wanted], start)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_file_with_many_ranges_is_copied_whole_and_stays_as_sparse() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).unwrap();
        // More than what is copied at once in one go, an end that nothing is aligned to, and a hole behind it.
        let length = (256 << 20) + 77;
        file.set_len(length).unwrap();
        let mut ranges = vec![(0, 9 << 20)];
        ranges.extend((0..400_u64).map(|n| ((16 << 20) + n * (200 << 10), 40 << 10)));
        ranges.push((length - 5000, 5000));
        for (number, (at, bytes)) in ranges.iter().enumerate() {
            let byte = u8::try_from(number % 250 + 1).unwrap();
            file.write_all_at(&vec![byte; usize::try_from(*bytes).unwrap()], *at)
                .unwrap();
        }
        file.sync_all().unwrap();
        copy(&from, &to, &Cancel::never()).unwrap();
        let copy = File::open(&to).unwrap();
        copy.sync_all().unwrap();
        let (old, new) = (file.metadata().unwrap(), copy.metadata().unwrap());
        assert!(old.blocks() * 512 > LITTLE_BYTES);
        assert_eq!(new.len(), length);
        assert!(new.blocks() <= old.blocks() + 64, "{new:?}");
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
    }
}
