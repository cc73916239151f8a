//! Where the live log stream is cut into messages.
//!
//! The TypeScript client looks at the last bytes of a message to see whether a marker may have been cut. It takes
//! the end of a whole marker for such a cut, drops into the middle of it and shows its bytes as output. So a
//! message ends behind payload, never within a marker or right behind one.

use bytes::Bytes;

/// Longest message. The TypeScript client copies what is left of a message at every marker; with messages of
/// 32 KiB and short lines, it takes several seconds for each megabyte.
const FRAME_BYTES: usize = 4 << 10;

/// The next message of the marked stream, taken off the front of `stream`.
pub fn next_frame(stream: &mut Bytes) -> Bytes {
    if stream.len() <= FRAME_BYTES {
        return std::mem::take(stream);
    }
    let is_payload = |byte: &u8| !matches!(byte, 1 | 2);
    // Output that is nothing but bytes of markers cannot be told from them, wherever it is cut.
    let end = stream[..FRAME_BYTES]
        .iter()
        .rposition(is_payload)
        .map_or(FRAME_BYTES, |last| last + 1);
    stream.split_to(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(stream: &[u8]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(stream);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            frames.push(next_frame(&mut rest));
        }
        frames
    }

    #[test]
    fn no_message_ends_within_a_marker_or_right_behind_one() {
        // Each offset of the marker to the longest message, before and behind its end.
        for lead in FRAME_BYTES - 8..FRAME_BYTES + 4 {
            let mut stream = vec![b'x'; lead];
            stream.extend_from_slice(b"\x01\x01\x01yyyyyyyy");
            let frames = frames(&stream);
            assert!(frames.len() > 1, "{lead}");
            for frame in frames {
                assert!(frame.ends_with(b"x") || frame.ends_with(b"y"), "{lead}");
            }
        }
    }

    #[test]
    fn output_of_nothing_but_marker_bytes_is_sent_all_the_same() {
        assert_eq!(frames(&[1; 10_000]).concat(), [1; 10_000]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_message_is_too_long(
            runs in proptest::collection::vec((0_u8..4, 1..3000_usize), 0..8),
        ) {
            let runs = runs.into_iter();
            let stream: Vec<u8> = runs.flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect();
            let frames = frames(&stream);
            prop_assert!(frames.iter().all(|frame| (1..=FRAME_BYTES).contains(&frame.len())));
            prop_assert_eq!(frames.concat(), stream);
        }
    }
}
