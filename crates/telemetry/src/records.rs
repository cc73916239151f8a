//! Records of one kind of one sandbox: lines of JSON in two files, of which the older goes when the newer is full.
//!
//! What is in there came from the server, but what is read may have been torn by a loss of power: a line that cannot be read
//! is left out.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One of the two files. What is kept of a kind is between this and twice this, where so much was told.
pub(crate) const FILE_MAX_BYTES: u64 = 256 << 10;
/// A record that is longer is left out; who writes records cuts their texts before.
pub(crate) const RECORD_MAX_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(crate) struct Records {
    newer: PathBuf,
    older: PathBuf,
}

impl Records {
    pub fn new(folder: &Path, kind: &str) -> Self {
        Self {
            newer: folder.join(kind),
            older: folder.join(format!("{kind}.older")),
        }
    }

    /// Adds records behind the others.
    pub fn append<T: Serialize>(&self, records: &[T]) -> io::Result<()> {
        let mut lines = Vec::new();
        for record in records {
            let begin = lines.len();
            let written = serde_json::to_writer(&mut lines, record);
            if written.is_err() || lines.len() - begin >= RECORD_MAX_BYTES {
                lines.truncate(begin);
                continue;
            }
            lines.push(b'\n');
            // A batch may be larger than a file.
            if lines.len() as u64 >= FILE_MAX_BYTES {
                self.write(&lines)?;
                lines.clear();
            }
        }
        self.write(&lines)
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let size = fs::metadata(&self.newer).map_or(0, |found| found.len());
        if size > 0 && size + lines.len() as u64 > FILE_MAX_BYTES {
            fs::rename(&self.newer, &self.older)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.newer)?;
        file.write_all(lines)
    }

    /// All that is kept, in the order in which it came.
    pub fn read<T: DeserializeOwned>(&self) -> io::Result<Vec<T>> {
        let mut records = Vec::new();
        for path in [&self.older, &self.newer] {
            let text = match fs::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let lines = text.split(|byte| *byte == b'\n');
            records.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn size(folder: &Path) -> u64 {
        let files = fs::read_dir(folder).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path(), "logs");
        assert_eq!(records.read::<u32>().unwrap(), Vec::<u32>::new());
        records.append(&[1, 2]).unwrap();
        let mut file = OpenOptions::new()
            .append(true)
            .open(&records.newer)
            .unwrap();
        file.write_all(b"{\"half\n\xff\xfe\n").unwrap();
        records.append(&[3]).unwrap();
        assert_eq!(records.read::<u32>().unwrap(), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn the_newest_are_kept_in_their_order_and_the_files_stay_small(
            batches in prop::collection::vec(prop::collection::vec(0..20_000_usize, 0..40), 0..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let records = Records::new(folder.path(), "logs");
            let mut told = Vec::new();
            for batch in &batches {
                let texts: Vec<(usize, String)> = batch.iter().enumerate()
                    .map(|(index, length)| (told.len() + index, "x".repeat(*length)))
                    .collect();
                records.append(&texts).unwrap();
                told.extend(texts);
            }
            let bound = 2 * (FILE_MAX_BYTES + RECORD_MAX_BYTES as u64);
            prop_assert!(size(folder.path()) <= bound, "{}", size(folder.path()));
            let kept: Vec<(usize, String)> = records.read().unwrap();
            let short: Vec<_> = told.into_iter().filter(|(_, text)| text.len() < RECORD_MAX_BYTES - 30).collect();
            let kept_short: Vec<_> = kept.iter().filter(|(_, text)| text.len() < RECORD_MAX_BYTES - 30).cloned().collect();
            prop_assert!(short.ends_with(&kept_short));
            prop_assert!(kept_short.len() >= short.len().min(10), "{} of {}", kept_short.len(), short.len());
        }
    }
}
