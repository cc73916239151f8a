//! Cursors of lists: opaque to clients, signed together with the question they belong to.

use alcove_domain::{OrganizationId, SandboxFilter, SandboxSort, SortOrder};
use alcove_store::{NewestFirst, SandboxCursor, SortKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const MAC_BYTES: usize = 16;
const BLOCK_BYTES: usize = 64;

/// What a cursor belongs to. A cursor of another question is refused: its place means nothing there.
pub(crate) struct Question<'a> {
    pub organization: &'a OrganizationId,
    pub filter: &'a SandboxFilter,
    pub sort: SandboxSort,
    pub order: SortOrder,
}

#[derive(Serialize, Deserialize)]
struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<i64>,
    id: String,
}

pub(crate) fn seal(key: &[u8; 32], question: &Question<'_>, cursor: &SandboxCursor) -> String {
    let (text, number) = match &cursor.key {
        SortKey::Text(text) => (Some(text.clone()), None),
        SortKey::Number(number) => (None, Some(*number)),
    };
    let place = Place {
        text,
        number,
        id: cursor.id.to_string(),
    };
    let place = serde_json::to_vec(&place).expect("texts and numbers are always JSON");
    let mut sealed = mac(key, question, &place).to_vec();
    sealed.extend(place);
    URL_SAFE_NO_PAD.encode(sealed)
}

/// None if the cursor is not ours or belongs to another question.
pub(crate) fn open(key: &[u8; 32], question: &Question<'_>, text: &str) -> Option<SandboxCursor> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (signature, place) = sealed.split_at_checked(MAC_BYTES)?;
    if !is_equal(&mac(key, question, place), signature) {
        return None;
    }
    let place: Place = serde_json::from_slice(place).ok()?;
    let key = match (place.text, place.number) {
        (Some(text), None) => SortKey::Text(text),
        (None, Some(number)) => SortKey::Number(number),
        _ => return None,
    };
    Some(SandboxCursor {
        key,
        id: place.id.parse().ok()?,
    })
}

/// As [`seal`], for a place that is two numbers.
pub(crate) fn seal_pair(key: &[u8; 32], question: &str, place: (i64, i64)) -> String {
    let place = [place.0.to_be_bytes(), place.1.to_be_bytes()].concat();
    let mut sealed = text_mac(key, question, &place).to_vec();
    sealed.extend(place);
    URL_SAFE_NO_PAD.encode(sealed)
}

/// As [`open`], for a place that is two numbers.
pub(crate) fn open_pair(key: &[u8; 32], question: &str, text: &str) -> Option<(i64, i64)> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (signature, place) = sealed.split_at_checked(MAC_BYTES)?;
    if !is_equal(&text_mac(key, question, place), signature) {
        return None;
    }
    let (first, second) = place.split_at_checked(8)?;
    let number = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    Some((number(first)?, number(second)?))
}

/// As [`seal`], for a place among rows that are listed newest first.
pub(crate) fn seal_newest(key: &[u8; 32], question: &str, place: &NewestFirst) -> String {
    let place = [&place.created_at_ms.to_be_bytes(), place.id.as_bytes()].concat();
    let mut sealed = text_mac(key, question, &place).to_vec();
    sealed.extend(place);
    URL_SAFE_NO_PAD.encode(sealed)
}

/// As [`open`], for a place among rows that are listed newest first.
pub(crate) fn open_newest(key: &[u8; 32], question: &str, text: &str) -> Option<NewestFirst> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (signature, place) = sealed.split_at_checked(MAC_BYTES)?;
    if !is_equal(&text_mac(key, question, place), signature) {
        return None;
    }
    let (at, id) = place.split_at_checked(8)?;
    Some(NewestFirst {
        created_at_ms: i64::from_be_bytes(at.try_into().ok()?),
        id: String::from_utf8(id.to_vec()).ok()?,
    })
}

fn text_mac(key: &[u8; 32], question: &str, place: &[u8]) -> [u8; MAC_BYTES] {
    let mut short = [0; MAC_BYTES];
    short.copy_from_slice(&hmac_sha256(key, &[question.as_bytes(), b"\0", place])[..MAC_BYTES]);
    short
}

fn mac(key: &[u8; 32], question: &Question<'_>, place: &[u8]) -> [u8; MAC_BYTES] {
    let Question {
        organization,
        filter,
        sort,
        order,
    } = question;
    let question = format!("{organization} {sort:?} {order:?} {filter:?}");
    let mut short = [0; MAC_BYTES];
    short.copy_from_slice(&hmac_sha256(key, &[question.as_bytes(), b"\0", place])[..MAC_BYTES]);
    short
}

fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; BLOCK_BYTES];
        for (padded, key) in block.iter_mut().zip(key) {
            *padded ^= key;
        }
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    for part in parts {
        inner.update(part);
    }
    Sha256::new_with_prefix(pad(0x5c))
        .chain_update(inner.finalize())
        .finalize()
        .into()
}

/// Takes the same time wherever the first difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256() {
        // RFC 4231, test case 1, its key padded with zeros as the algorithm does.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex::encode(hmac_sha256(&key, &[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn a_cursor_opens_for_its_own_question_only() {
        let key = [7; 32];
        let org: OrganizationId = "org".parse().unwrap();
        let other: OrganizationId = "other".parse().unwrap();
        let filter = SandboxFilter::default();
        let question = Question {
            organization: &org,
            filter: &filter,
            sort: SandboxSort::Name,
            order: SortOrder::Ascending,
        };
        let cursor = SandboxCursor {
            key: SortKey::Text("näme".to_owned()),
            id: "x".parse().unwrap(),
        };
        let sealed = seal(&key, &question, &cursor);
        assert_eq!(open(&key, &question, &sealed), Some(cursor));
        assert_eq!(open(&[8; 32], &question, &sealed), None);
        let foreign = Question {
            organization: &other,
            ..question
        };
        assert_eq!(open(&key, &foreign, &sealed), None);
        let turned = Question {
            order: SortOrder::Descending,
            ..question
        };
        assert_eq!(open(&key, &turned, &sealed), None);
        for broken in ["", "x", "====", &sealed[..sealed.len() - 2], "null"] {
            assert_eq!(open(&key, &question, broken), None, "{broken:?}");
        }
    }
}
