//! What must be true of any first words.

use super::hello::{MAX, Reader};

/// A name stands in what was said, all of which is passed on, and it is the same one however the words are cut up.
pub(in crate::net) fn hello(input: &[u8]) {
    let read = |length: usize| {
        let mut reader = Reader::default();
        let mut pieces = input.chunks(length);
        let hello = pieces
            .find_map(|piece| reader.push(piece).transpose())?
            .ok()?;
        let name = hello.name.as_str().to_owned();
        let said = &hello.bytes;
        assert!(said.len() <= MAX && input.starts_with(said));
        assert!(is_spread_over(said, name.as_bytes()));
        Some(name)
    };
    let (whole, bytes) = (read(input.len().max(1)), read(1));
    if let (Some(whole), Some(bytes)) = (whole, bytes) {
        assert_eq!(whole, bytes);
    }
}

/// Whether the letters are there in their order. Heads of records may stand between them.
fn is_spread_over(said: &[u8], name: &[u8]) -> bool {
    let mut said = said.iter().map(u8::to_ascii_lowercase);
    name.iter().all(|letter| said.any(|byte| byte == *letter))
}
