//! Files that are written with holes where there are only zeros.
//!
//! An archive of a few megabytes may say that a file is gigabytes of them. In a layer they are no blocks of the host, as they were
//! none where the file came from.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// What is looked at as a whole: a block of the usual file systems.
const BLOCK: usize = 4096;
const BUFFER: usize = 4 * BLOCK;

/// Copies everything into an empty file. Returns its length.
pub fn copy(from: &mut impl Read, into: &File) -> io::Result<u64> {
    let mut buffer = [0; BUFFER];
    let (mut length, mut written) = (0, 0);
    loop {
        let count = fill(from, &mut buffer)?;
        let mut at = length;
        for block in buffer[..count].chunks(BLOCK) {
            let end = at + block.len() as u64;
            if block != &[0; BLOCK][..block.len()] {
                into.write_all_at(block, at)?;
                written = end;
            }
            at = end;
        }
        length = at;
        if count < buffer.len() {
            break;
        }
    }
    if written < length {
        into.set_len(length)?;
    }
    Ok(length)
}

/// Reads until the buffer is full or there is nothing more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_what_the_file_has(
            pieces in prop::collection::vec((0..3 * BUFFER, any::<u8>()), 0..6),
        ) {
            let bytes: Vec<u8> = pieces
                .iter()
                .flat_map(|(length, byte)| std::iter::repeat_n(*byte % 2, *length))
                .collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            prop_assert_eq!(copy(&mut &bytes[..], file.as_file()).unwrap(), bytes.len() as u64);
            prop_assert!(std::fs::read(file.path()).unwrap() == bytes);
        }
    }

    #[test]
    fn zeros_take_no_space() {
        const MIB: u64 = 1 << 20;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut from = io::repeat(0).take(64 * MIB).chain(&b"end"[..]);
        assert_eq!(copy(&mut from, file.as_file()).unwrap(), 64 * MIB + 3);
        let found = file.as_file().metadata().unwrap();
        assert_eq!(found.len(), 64 * MIB + 3);
        // In units of 512 bytes, whatever the file system.
        assert!(found.blocks() * 512 < MIB, "{}", found.blocks());
    }
}
