//! The last output of a terminal, in a ring of bounded size.

use std::collections::VecDeque;

/// Output by its place in all that was ever said.
#[derive(Debug)]
pub struct Scrollback {
    bytes: VecDeque<u8>,
    capacity: usize,
    end: u64,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    /// Bytes before these that are not kept any more.
    pub dropped: u64,
}

impl Scrollback {
    /// Takes memory only as output comes.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity,
            end: 0,
        }
    }

    /// Place of the first byte that is kept.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Bytes ever said.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn append(&mut self, piece: &[u8]) {
        let kept = &piece[piece.len().saturating_sub(self.capacity)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.capacity);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
        self.end += piece.len() as u64;
    }

    /// At most `max` bytes from a place on. What is not kept any more is skipped and counted.
    pub fn read(&self, from: u64, max: usize) -> Piece {
        let dropped = self.start().saturating_sub(from);
        let skipped = (from + dropped).saturating_sub(self.start());
        let skipped =
            usize::try_from(skipped).map_or(self.bytes.len(), |at| at.min(self.bytes.len()));
        let end = self.bytes.len().min(skipped.saturating_add(max));
        Piece {
            bytes: self.bytes.range(skipped..end).copied().collect(),
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_output_is_kept_in_its_place(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            capacity in 1usize..60, from in 0u64..900, max in 1usize..50,
        ) {
            let mut scrollback = Scrollback::new(capacity);
            for piece in &pieces {
                scrollback.append(piece);
            }
            let said = pieces.concat();
            let kept_from = said.len().saturating_sub(capacity);
            prop_assert_eq!(scrollback.end(), said.len() as u64);
            prop_assert_eq!(scrollback.start(), kept_from as u64);
            let from = from.min(said.len() as u64);
            let piece = scrollback.read(from, max);
            let first = usize::try_from(from).unwrap_or(0).max(kept_from);
            prop_assert_eq!(piece.dropped, first as u64 - from);
            prop_assert_eq!(piece.bytes, &said[first..said.len().min(first + max)]);
        }
    }
}
