//! The digest of a file's content. Ranges of zeroes count by their place and length alone, so a disk of which little is used is
//! soon read, and the digest does not depend on how a copy was made.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use alcove_runner::disk::ranges;
use sha2::{Digest as _, Sha256};

const CHUNK: u64 = 1 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// Length and digest.
pub fn of(path: &Path) -> io::Result<(u64, String)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut sum = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while let Some((start, end)) = ranges::next(&file, at, length)? {
        // Whole chunks, whatever the file system calls a range.
        at = at.max(start / CHUNK * CHUNK);
        while at < end {
            let size = usize::try_from((length - at).min(CHUNK)).unwrap_or(0);
            let chunk = &mut buffer[..size];
            file.read_exact_at(chunk, at)?;
            if chunk.iter().any(|byte| *byte != 0) {
                sum.update(at.to_le_bytes());
                sum.update(&*chunk);
            }
            at += CHUNK;
        }
    }
    sum.update(u64::MAX.to_le_bytes());
    sum.update(length.to_le_bytes());
    Ok((length, hex::encode(sum.finalize())))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn holes_and_zeroes_are_the_same_and_everything_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let length = (3 << 20) + 5;
        let mut bytes = vec![0_u8; length];
        bytes[5] = 1;
        bytes[(2 << 20) + 7] = 2;
        bytes[length - 1] = 3;
        std::fs::write(path("full"), &bytes).unwrap();
        let sparse = File::create(path("sparse")).unwrap();
        sparse.set_len(length as u64).unwrap();
        for (at, byte) in [(5, 1), ((2 << 20) + 7, 2), (length as u64 - 1, 3)] {
            sparse.write_all_at(&[byte], at).unwrap();
        }
        let full = of(&path("full")).unwrap();
        assert_eq!(of(&path("sparse")).unwrap(), full);
        for at in [0, 5, 1 << 20, (2 << 20) + 7, length - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(path("changed"), changed).unwrap();
            assert_ne!(of(&path("changed")).unwrap(), full, "at {at}");
        }
        for other in [length - 1, length + 1] {
            let mut changed = bytes.clone();
            changed.resize(other, 0);
            std::fs::write(path("changed"), changed).unwrap();
            assert_ne!(of(&path("changed")).unwrap(), full);
        }
        File::create(path("empty")).unwrap();
        assert_eq!(of(&path("empty")).unwrap().0, 0);
    }
}
