//! Files on their way out.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;

use crate::file::error::FileError;
use crate::file::traffic::Traffic;

/// Bytes of one read.
const PIECE_BYTES: u64 = 256 << 10;

/// Most bytes of a file that does not know its size, such as those of `/proc`.
const MAX_UNSIZED_BYTES: u64 = 64 << 20;

/// A regular file, open.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    pub metadata: Metadata,
}

impl OpenFile {
    /// Opens a regular file. Pipes and devices are refused: some never end, some block the one who opens them.
    ///
    /// # Errors
    /// The path cannot be opened or is something else.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error: std::io::Error| FileError::new("cannot open", path, &error);
        let file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(FileError::invalid(path, "is a folder"));
        }
        if !metadata.is_file() {
            return Err(FileError::invalid(path, "is no regular file"));
        }
        Ok(Self { file, metadata })
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// The size, unless the file does not know it.
    pub fn known_size(&self) -> Option<u64> {
        (self.metadata.size() > 0).then(|| self.metadata.size())
    }
}

/// A part of a file, read in pieces.
#[derive(Debug)]
pub struct Reading {
    file: File,
    at: u64,
    end: u64,
    /// Ends at the end of the file, wherever that is.
    is_unsized: bool,
    traffic: Traffic,
}

impl Reading {
    /// Exactly `length` bytes from `start`.
    pub fn sized(file: OpenFile, start: u64, length: u64) -> Self {
        if length > PIECE_BYTES {
            // Has the kernel read further ahead. Not every file system can.
            let _ = rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::Sequential);
        }
        Self {
            file: file.file,
            at: start,
            end: start + length,
            is_unsized: false,
            traffic: Traffic::default(),
        }
    }

    /// Up to the end, within a bound.
    pub fn to_end(file: OpenFile) -> Self {
        Self {
            file: file.file,
            at: 0,
            end: MAX_UNSIZED_BYTES,
            is_unsized: true,
            traffic: Traffic::default(),
        }
    }

    /// Whether there is no next piece, as far as can be told without looking.
    pub fn is_over(&self) -> bool {
        self.at == self.end
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The disk fails, or the file became shorter than was announced.
    pub fn next_piece(&mut self) -> std::io::Result<Option<Bytes>> {
        let wanted = (self.end - self.at).min(PIECE_BYTES);
        let wanted = usize::try_from(wanted).unwrap_or(0);
        if wanted == 0 {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(wanted);
        rustix::io::pread(
            &self.file,
            rustix::buffer::spare_capacity(&mut piece),
            self.at,
        )?;
        piece.truncate(wanted);
        if piece.is_empty() {
            return if self.is_unsized {
                Ok(None)
            } else {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            };
        }
        self.at += piece.len() as u64;
        self.traffic.count(piece.len());
        Ok(Some(piece.into()))
    }
}

/// What `Range: bytes=…` asks of a file of `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeAsked {
    /// None, several, or one that we cannot read: the whole file.
    Whole,
    Part {
        start: u64,
        length: u64,
    },
    Unsatisfiable,
}

/// Reads the header by RFC 9110. Several ranges may be answered with the whole file, and are.
pub fn range_asked(header: Option<&str>, size: u64) -> RangeAsked {
    let Some(range) = header.and_then(|text| text.strip_prefix("bytes=")) else {
        return RangeAsked::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return RangeAsked::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.parse::<u64>().ok();
    let (start, end) = match (
        first.is_empty(),
        number(first),
        last.is_empty(),
        number(last),
    ) {
        (true, _, false, Some(suffix)) => (size.saturating_sub(suffix), size),
        (false, Some(start), true, _) => (start, size),
        (false, Some(start), false, Some(last)) if last >= start => {
            (start, last.saturating_add(1).min(size))
        }
        _ => return RangeAsked::Whole,
    };
    if start >= size || start >= end {
        return RangeAsked::Unsatisfiable;
    }
    RangeAsked::Part {
        start,
        length: end - start,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use alcove_agent_api::ErrorCode;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        let part = |start, length| RangeAsked::Part { start, length };
        let table = [
            (None, RangeAsked::Whole),
            (Some("bytes=0-0"), part(0, 1)),
            (Some("bytes=2-"), part(2, 8)),
            (Some("bytes=-3"), part(7, 3)),
            (Some("bytes=-30"), part(0, 10)),
            (Some("bytes=5-100"), part(5, 5)),
            (Some("bytes=10-"), RangeAsked::Unsatisfiable),
            (Some("bytes=-0"), RangeAsked::Unsatisfiable),
            (Some("bytes=3-2"), RangeAsked::Whole),
            (Some("bytes=0-1,4-5"), RangeAsked::Whole),
            (Some("lines=1-2"), RangeAsked::Whole),
        ];
        for (header, wanted) in table {
            assert_eq!(range_asked(header, 10), wanted, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn a_range_never_leaves_the_file(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size in 0u64..1000) {
            if let RangeAsked::Part { start, length } = range_asked(Some(&header), size) {
                prop_assert!(length > 0 && start + length <= size);
            }
        }
    }

    #[test]
    fn devices_pipes_and_folders_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), dir.path()] {
            let error = OpenFile::open(path).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidFilePath, "{}", path.display());
        }
    }

    #[test]
    fn a_file_cut_while_it_is_read_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1_000_000).unwrap();
        let open = OpenFile::open(file.path()).unwrap();
        let mut reading = Reading::sized(open, 0, 1_000_000);
        assert!(reading.next_piece().unwrap().is_some());
        file.as_file().set_len(10).unwrap();
        assert!(reading.next_piece().is_err());
    }

    #[test]
    fn files_without_a_size_are_read_to_their_end() {
        let open = OpenFile::open(Path::new("/proc/self/status")).unwrap();
        assert_eq!(open.known_size(), None);
        let mut reading = Reading::to_end(open);
        assert!(!reading.next_piece().unwrap().unwrap().is_empty());
        while reading.next_piece().unwrap().is_some() {}
    }
}
