//! What must be true of text that claims to be a credential of ours, for any bytes. The targets of `fuzz/` and the replay
//! of their corpora call it.

use crate::preview::tokens;
use crate::token::TokenKey;
use alcove_domain::{Port, SandboxId};
use jiff::Timestamp;

const KEY: [u8; 32] = [7; 32];
const EXPIRES_AT: i64 = 2_000_000_000;

/// Reads bytes as each kind of token. The first byte says what is done to a good one; whatever is not
/// exactly ours is refused.
pub fn tokens(input: &[u8]) {
    let key = TokenKey::new(KEY);
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let Some(port) = Port::new(u16::from(*mode) + 1) else {
        return;
    };
    let sandbox = SandboxId::from_uuid(uuid::Uuid::from_bytes([*mode; 16]));
    let text = String::from_utf8_lossy(rest);
    let before = Timestamp::from_second(EXPIRES_AT - 1).unwrap_or_default();

    let label = tokens::label_of(&key, &sandbox, port, EXPIRES_AT).unwrap_or_default();
    let token = tokens::token_of(&key, &sandbox, tokens::Scope::All);
    let pass = tokens::pass_of(&key, &sandbox, port, EXPIRES_AT);
    for candidate in [text.clone().into_owned(), spoilt(&label, rest)] {
        let read = tokens::read_label(&key, &candidate, port);
        let is_ours = candidate.eq_ignore_ascii_case(&label);
        assert_eq!(read.is_some(), is_ours, "label {candidate:?}");
        tokens::label_id(&candidate);
    }
    for candidate in [text.clone().into_owned(), spoilt(&token, rest)] {
        let opens = tokens::is_token(&key, &sandbox, &candidate, None);
        assert_eq!(opens, candidate == token, "token {candidate:?}");
    }
    for candidate in [text.clone().into_owned(), spoilt(&pass, rest)] {
        let opens = tokens::is_pass(&key, &sandbox, port, &candidate, before);
        assert_eq!(opens, candidate == pass, "pass {candidate:?}");
    }
    let claims = key.verify(&text, before);
    if let Some(claims) = claims {
        assert_eq!(key.sign(&claims), text, "claims");
    }
}

/// A text with some of its bytes changed: pairs of a place and what is added there.
fn spoilt(text: &str, by: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for change in by.chunks_exact(2) {
        let place = usize::from(change[0]) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place) {
            *byte = byte.wrapping_add(change[1]) & 0x7f;
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use alcove_testkit::fuzz;

    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/tokens");

    #[test]
    fn tokens_hold_for_the_corpus_and_what_is_near_it() {
        fuzz::run(Path::new(CORPUS), 20_000, super::tokens);
    }
}
