//! Program output as text in JSON.
//!
//! Output is bytes, JSON is Unicode. Invalid bytes become U+FFFD, a character cut by the edge of a piece is
//! kept until its rest comes, and nothing is held twice: pieces go straight into the escaped form.

/// Writes pieces of output as the inside of a JSON string.
#[derive(Debug, Default)]
pub struct JsonText {
    /// First bytes of a character whose rest has not come, at most three.
    cut: Vec<u8>,
}

impl JsonText {
    /// Appends a piece to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.cut.is_empty() {
            self.push_joined(piece, out);
        } else {
            let mut joined = std::mem::take(&mut self.cut);
            joined.extend_from_slice(piece);
            self.push_joined(&joined, out);
        }
    }

    /// Appends what is left of a cut character.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.cut.is_empty() {
            self.cut.clear();
            push_replacement(out);
        }
    }

    fn push_joined(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => return escape(text.as_bytes(), out),
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    escape(valid, out);
                    let Some(invalid) = error.error_len() else {
                        self.cut.extend_from_slice(rest);
                        return;
                    };
                    push_replacement(out);
                    bytes = &rest[invalid..];
                }
            }
        }
    }
}

fn push_replacement(out: &mut Vec<u8>) {
    out.extend_from_slice("\u{fffd}".as_bytes());
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut plain = 0;
    for (at, &byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&text[plain..at]);
        if short == 0 {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&text[plain..]);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(bytes: &[u8], cuts: &[usize]) -> String {
        let mut text = JsonText::default();
        let mut out = vec![b'"'];
        let mut start = 0;
        for cut in cuts {
            let end = (start + cut).min(bytes.len());
            text.push(&bytes[start..end], &mut out);
            start = end;
        }
        text.push(&bytes[start..], &mut out);
        text.finish(&mut out);
        out.push(b'"');
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_character_cut_by_a_piece_survives() {
        assert_eq!(in_pieces("aé€😀".as_bytes(), &[2, 1, 1, 2, 1]), "aé€😀");
    }

    #[test]
    fn a_cut_character_at_the_end_is_replaced_once() {
        assert_eq!(in_pieces(&[b'a', 0xf0, 0x9f], &[]), "a\u{fffd}");
    }

    proptest! {
        #[test]
        fn pieces_read_as_the_whole_does(bytes in any::<Vec<u8>>(), cuts in proptest::collection::vec(0usize..5, 0..8)) {
            prop_assert_eq!(in_pieces(&bytes, &cuts), String::from_utf8_lossy(&bytes));
        }
    }
}
