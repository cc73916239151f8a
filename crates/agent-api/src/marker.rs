//! The byte stream of session logs: a marker before every line and at every change of stream.
//!
//! Clients drop bytes before the first marker and switch stream at each one. The payload is passed on as it
//! is: a missing last newline is not added, and bytes that look like a marker are not escaped.

use serde::{Deserialize, Serialize};

/// Opens standard output.
pub const STDOUT_MARKER: [u8; 3] = [1, 1, 1];

/// Opens standard error.
pub const STDERR_MARKER: [u8; 3] = [2, 2, 2];

/// Which of its two outputs a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub const fn marker(self) -> [u8; 3] {
        match self {
            Self::Stdout => STDOUT_MARKER,
            Self::Stderr => STDERR_MARKER,
        }
    }
}

/// Turns pieces of the two streams into the marked form, one reader's place in it.
#[derive(Debug, Clone, Default)]
pub struct MarkerWriter {
    /// The stream of the unfinished line; none at the start of a line.
    open_line: Option<Stream>,
}

impl MarkerWriter {
    /// Appends `bytes` of `stream` to `out`.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.open_line != Some(stream) {
                out.extend_from_slice(&stream.marker());
            }
            let (line, is_whole) = match memchr::memchr(b'\n', rest) {
                Some(at) => (at + 1, true),
                None => (rest.len(), false),
            };
            out.extend_from_slice(&rest[..line]);
            rest = &rest[line..];
            self.open_line = if is_whole { None } else { Some(stream) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(pieces: &[(Stream, &[u8])]) -> Vec<u8> {
        let mut writer = MarkerWriter::default();
        let mut out = Vec::new();
        for (stream, bytes) in pieces {
            writer.write(*stream, bytes, &mut out);
        }
        out
    }

    /// What the official clients do with the stream.
    fn split(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut current: Option<Stream> = None;
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if rest.starts_with(&STDOUT_MARKER) {
                current = Some(Stream::Stdout);
                rest = &rest[3..];
            } else if rest.starts_with(&STDERR_MARKER) {
                current = Some(Stream::Stderr);
                rest = &rest[3..];
            } else {
                match current {
                    Some(Stream::Stdout) => stdout.push(byte),
                    Some(Stream::Stderr) => stderr.push(byte),
                    None => {}
                }
                rest = &rest[1..];
            }
        }
        (stdout, stderr)
    }

    #[test]
    fn a_line_without_its_end_gets_a_marker_and_nothing_else() {
        assert_eq!(marked(&[(Stream::Stdout, b"foo")]), b"\x01\x01\x01foo");
    }

    #[test]
    fn every_line_gets_a_marker() {
        assert_eq!(
            marked(&[(Stream::Stdout, b"a\n\nb\n")]),
            b"\x01\x01\x01a\n\x01\x01\x01\n\x01\x01\x01b\n"
        );
    }

    #[test]
    fn a_line_in_two_pieces_gets_one_marker() {
        assert_eq!(
            marked(&[(Stream::Stderr, b"ab"), (Stream::Stderr, b"cd\n")]),
            b"\x02\x02\x02abcd\n"
        );
    }

    #[test]
    fn a_change_of_stream_within_a_line_is_marked_both_ways() {
        assert_eq!(
            marked(&[
                (Stream::Stdout, b"a"),
                (Stream::Stderr, b"b\n"),
                (Stream::Stdout, b"c\n")
            ]),
            b"\x01\x01\x01a\x02\x02\x02b\n\x01\x01\x01c\n"
        );
    }

    proptest! {
        #[test]
        fn a_client_gets_back_both_streams_whole(pieces in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(prop_oneof![Just(b'\n'), 3u8..=255], 0..20)), 0..30)
        ) {
            let pieces: Vec<(Stream, Vec<u8>)> = pieces.into_iter()
                .map(|(is_err, bytes)| (if is_err { Stream::Stderr } else { Stream::Stdout }, bytes))
                .collect();
            let wanted = |of: Stream| pieces.iter().filter(|(stream, _)| *stream == of)
                .flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>();
            let borrowed: Vec<(Stream, &[u8])> = pieces.iter().map(|(s, b)| (*s, b.as_slice())).collect();
            let (stdout, stderr) = split(&marked(&borrowed));
            prop_assert_eq!(stdout, wanted(Stream::Stdout));
            prop_assert_eq!(stderr, wanted(Stream::Stderr));
        }

        #[test]
        fn where_pieces_of_one_stream_are_cut_does_not_matter(bytes in any::<Vec<u8>>(), cut in 0usize..64) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(
                marked(&[(Stream::Stdout, &bytes)]),
                marked(&[(Stream::Stdout, &bytes[..cut]), (Stream::Stdout, &bytes[cut..])])
            );
        }
    }
}
