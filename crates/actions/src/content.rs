//! The bytes of files as base64 inside of JSON.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::failure::Failure;

/// The largest file that is downloaded.
pub const DOWNLOAD_MAX_BYTES: u64 = 100 << 20;
/// The largest file that is uploaded.
pub const UPLOAD_MAX_BYTES: u64 = 100 << 20;
/// The largest input: the largest file in base64, and some more so that one that is a little too large is told so.
pub const INPUT_MAX_BYTES: u64 = UPLOAD_MAX_BYTES / 3 * 4 + (4 << 20);

/// Base64 letters that are decoded at a time, a multiple of four.
const PIECE_LETTERS: usize = 256 << 10;

/// Without padding: it has been taken off. Bits that stand for nothing are let be.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Content that is known to be good base64, still encoded.
#[derive(Debug)]
pub(crate) struct Encoded {
    letters: Bytes,
}

impl Encoded {
    /// Takes either alphabet, with padding or without, with line breaks, with the beginning of a data URL.
    pub(crate) fn parse(text: String) -> Result<Self, Failure> {
        let text = match data_url_prefix(&text) {
            Some(length) => text[length..].to_owned(),
            None => text,
        };
        let mut letters = text.into_bytes();
        let mut is_good = true;
        letters.retain_mut(|letter| match letter {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => true,
            b'-' => {
                *letter = b'+';
                true
            }
            b'_' => {
                *letter = b'/';
                true
            }
            b' ' | b'\t' | b'\r' | b'\n' => false,
            _ => {
                is_good = false;
                false
            }
        });
        let padded = letters.len();
        let end = letters.iter().rposition(|letter| *letter != b'=');
        letters.truncate(end.map_or(0, |last| last + 1));
        let padding = padded - letters.len();
        let is_whole = padding == 0 || (padding <= 2 && padded.is_multiple_of(4));
        if !is_good || !is_whole || letters.contains(&b'=') || letters.len() % 4 == 1 {
            return Err(Failure::invalid("file_content_base64 must be base64"));
        }
        Ok(Self {
            letters: letters.into(),
        })
    }

    /// How many bytes it stands for.
    pub(crate) fn decoded_bytes(&self) -> u64 {
        (self.letters.len() as u64) * 3 / 4
    }

    /// The bytes, piece by piece.
    pub(crate) fn into_pieces(self) -> impl Stream<Item = Bytes> + Send + 'static {
        let mut rest = self.letters;
        stream::iter(std::iter::from_fn(move || {
            let piece = rest.split_to(rest.len().min(PIECE_LETTERS));
            let decoded = LENIENT.decode(&piece).expect("checked when it was parsed");
            (!piece.is_empty()).then(|| Bytes::from(decoded))
        }))
    }
}

/// The length of `data:text/plain;base64,` at the beginning of a text.
fn data_url_prefix(text: &str) -> Option<usize> {
    if !text.get(..5)?.eq_ignore_ascii_case("data:") {
        return None;
    }
    let comma = text.find(',')?;
    text[..comma].ends_with(";base64").then_some(comma + 1)
}

/// Encodes what comes in pieces of any length.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    text: String,
    /// Fewer than three bytes that came last.
    carry: Vec<u8>,
}

impl Encoder {
    pub(crate) fn with_capacity_for(bytes: u64) -> Self {
        let letters = usize::try_from(bytes.div_ceil(3) * 4).unwrap_or_default();
        Self {
            text: String::with_capacity(letters),
            carry: Vec::with_capacity(3),
        }
    }

    pub(crate) fn push(&mut self, mut piece: &[u8]) {
        if !self.carry.is_empty() {
            let wanted = (3 - self.carry.len()).min(piece.len());
            self.carry.extend_from_slice(&piece[..wanted]);
            piece = &piece[wanted..];
            if self.carry.len() < 3 {
                return;
            }
            BASE64_STANDARD.encode_string(&self.carry, &mut self.text);
            self.carry.clear();
        }
        let whole = piece.len() / 3 * 3;
        BASE64_STANDARD.encode_string(&piece[..whole], &mut self.text);
        self.carry.extend_from_slice(&piece[whole..]);
    }

    pub(crate) fn finish(mut self) -> String {
        BASE64_STANDARD.encode_string(&self.carry, &mut self.text);
        self.text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
    use futures_util::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>, String> {
        let encoded = Encoded::parse(text.to_owned()).map_err(|failure| failure.message)?;
        let expected = encoded.decoded_bytes();
        let pieces = encoded.into_pieces().collect::<Vec<_>>();
        let bytes = futures_util::FutureExt::now_or_never(pieces)
            .unwrap()
            .concat();
        assert_eq!(bytes.len() as u64, expected);
        Ok(bytes)
    }

    proptest! {
        #[test]
        fn every_spelling_of_base64_is_read(bytes: Vec<u8>, breaks_at in 1_usize..80) {
            let standard = BASE64_STANDARD.encode(&bytes);
            let letters = standard.as_bytes().chunks(breaks_at);
            let lines: Vec<&str> = letters.map(|line| std::str::from_utf8(line).unwrap()).collect();
            for text in [
                standard.clone(),
                BASE64_STANDARD_NO_PAD.encode(&bytes),
                BASE64_URL_SAFE.encode(&bytes),
                lines.join("\r\n "),
                format!("data:text/plain;charset=utf-8;base64,{standard}"),
            ] {
                prop_assert_eq!(decoded(&text), Ok(bytes.clone()), "{}", text);
            }
        }

        #[test]
        fn pieces_of_any_length_are_encoded_as_one(pieces: Vec<Vec<u8>>) {
            let mut encoder = Encoder::with_capacity_for(0);
            for piece in &pieces {
                encoder.push(piece);
            }
            prop_assert_eq!(encoder.finish(), BASE64_STANDARD.encode(pieces.concat()));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = decoded(&text);
        }
    }

    #[test]
    fn content_longer_than_a_piece_stays_in_order() {
        let bytes: Vec<u8> = (0..700_001_u32)
            .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
            .collect();
        assert_eq!(decoded(&BASE64_STANDARD.encode(&bytes)), Ok(bytes));
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [
            "a",
            "ab=c",
            "abc==",
            "a===",
            "====",
            "é",
            "ab!d",
            "data:,abc",
            "YQ=",
            "YWI==",
        ] {
            assert!(decoded(text).is_err(), "{text}");
        }
        assert_eq!(decoded(""), Ok(Vec::new()));
    }
}
