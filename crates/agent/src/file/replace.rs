//! Text in a file replaced by other text.

use std::path::Path;

use memchr::memmem::Finder;

use crate::file::error::FileError;
use crate::file::read::{OpenFile, Reading};
use crate::file::write::Writing;

/// Replaces every occurrence of a text in one file, which keeps its mode and owner; all else in it stays byte for
/// byte. A file without an occurrence is not touched.
///
/// # Errors
/// The path leads to no regular file, or the system refuses. The file is as it was then.
pub fn replace(path: &Path, pattern: &Finder<'_>, new: &[u8]) -> Result<(), FileError> {
    if !has_match(path, pattern)? || pattern.needle() == new {
        return Ok(());
    }
    let failed = |error: std::io::Error| FileError::new("cannot read", path, &error);
    let mut reading = open(path)?;
    let mut writing = Writing::open_for_rewrite(path)?;
    let mut text = Replacing::new(pattern, new);
    let mut out = Vec::new();
    while let Some(piece) = reading.next_piece().map_err(failed)? {
        text.push(&piece, &mut out);
        writing.write(&out)?;
        out.clear();
    }
    text.finish(&mut out);
    writing.write(&out)?;
    writing.commit().map(drop)
}

fn has_match(path: &Path, pattern: &Finder<'_>) -> Result<bool, FileError> {
    let mut reading = open(path)?;
    let overlap = pattern.needle().len() - 1;
    let mut buffer = Vec::new();
    loop {
        let piece = reading.next_piece();
        let Some(piece) = piece.map_err(|error| FileError::new("cannot read", path, &error))?
        else {
            return Ok(false);
        };
        buffer.extend_from_slice(&piece);
        if pattern.find(&buffer).is_some() {
            return Ok(true);
        }
        buffer.drain(..buffer.len().saturating_sub(overlap));
    }
}

/// The file for reading; what the kernel makes up is not to be rewritten.
fn open(path: &Path) -> Result<Reading, FileError> {
    let file = OpenFile::open(path)?;
    let Some(size) = file.known_size() else {
        let mut reading = Reading::to_end(file);
        return match reading.next_piece() {
            Ok(None) => Ok(reading),
            _ => Err(FileError::invalid(path, "is no regular file")),
        };
    };
    Ok(Reading::sized(file, 0, size))
}

/// A text on its way through.
struct Replacing<'a> {
    pattern: &'a Finder<'a>,
    new: &'a [u8],
    /// May be the beginning of an occurrence.
    held: Vec<u8>,
}

impl<'a> Replacing<'a> {
    fn new(pattern: &'a Finder<'a>, new: &'a [u8]) -> Self {
        Self {
            pattern,
            new,
            held: Vec::new(),
        }
    }

    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        let length = self.pattern.needle().len();
        let mut from = 0;
        while let Some(at) = self.pattern.find(&self.held[from..]) {
            out.extend_from_slice(&self.held[from..from + at]);
            out.extend_from_slice(self.new);
            from += at + length;
        }
        let safe = from.max(self.held.len().saturating_sub(length - 1));
        out.extend_from_slice(&self.held[from..safe]);
        self.held.drain(..safe);
    }

    fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use alcove_agent_api::ErrorCode;
    use proptest::prelude::*;

    use super::*;

    fn run(path: &Path, pattern: &str, new: &str) -> Result<(), FileError> {
        replace(path, &Finder::new(pattern), new.as_bytes())
    }

    #[test]
    fn all_occurrences_go_and_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"a\xffb a\xffb").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("link")).unwrap();
        run(&dir.path().join("link"), "b", "longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\xfflonger a\xfflonger");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o751);
        run(&path, "longer", "").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\xff a\xff");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn without_an_occurrence_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for content in ["", "text"] {
            std::fs::write(&path, content).unwrap();
            let before = std::fs::metadata(&path).unwrap();
            run(&path, "none", "x").unwrap();
            let after = std::fs::metadata(&path).unwrap();
            assert_eq!(
                (before.ino(), before.mtime_nsec()),
                (after.ino(), after.mtime_nsec())
            );
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            dir.path(),
            Path::new("/dev/zero"),
            Path::new("/proc/self/status"),
        ] {
            assert_eq!(
                run(path, "a", "b").unwrap_err().code,
                ErrorCode::InvalidFilePath
            );
        }
        let missing = run(&dir.path().join("none"), "a", "b").unwrap_err();
        assert_eq!(missing.code, ErrorCode::FileNotFound);
    }

    #[test]
    fn a_file_larger_than_a_piece_is_replaced_throughout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let text = "0123456789abc".repeat(100_000);
        std::fs::write(&path, &text).unwrap();
        run(&path, "9a", "-").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            text.replace("9a", "-")
        );
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            text in "[ab]{0,60}", pattern in "[ab]{1,4}", new in "[abc]{0,4}", chunk in 1usize..20
        ) {
            let finder = Finder::new(&pattern);
            let mut replacing = Replacing::new(&finder, new.as_bytes());
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(chunk) {
                replacing.push(piece, &mut out);
            }
            replacing.finish(&mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), text.replace(&pattern, &new));
        }
    }
}
