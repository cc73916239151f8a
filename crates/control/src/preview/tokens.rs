//! The tokens that open ports, as text: made and read, and nothing else.

use alcove_domain::{Permission, Port, SandboxId};
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;

use crate::Caller;
use crate::token::TokenKey;

/// First byte of a signed label: its form.
const LABEL_VERSION: u8 = 1;
/// Of the signature, so that port and label fit into one label of a host name, which has 63 characters.
const LABEL_MAC_BYTES: usize = 12;
const LABEL_BYTES: usize = 1 + 16 + 4 + LABEL_MAC_BYTES;
/// A label in BASE32.
const LABEL_CHARACTERS: usize = (LABEL_BYTES * 8).div_ceil(5);
/// Characters of a preview token.
const TOKEN_CHARACTERS: usize = 40;

/// What a preview token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What programs in the sandbox serve.
    Ports,
    /// That, and running programs.
    All,
}

impl Scope {
    const ALL: [Self; 2] = [Self::Ports, Self::All];

    fn word(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::All => "all",
        }
    }

    fn opens(self, port: Option<Port>) -> bool {
        self == Self::All || port.is_some_and(|port| !port.is_reserved())
    }

    /// What a caller may hand on: no more than it has itself.
    pub fn of(caller: &Caller) -> Self {
        if caller.require(Permission::WriteSandboxes).is_ok() {
            Self::All
        } else {
            Self::Ports
        }
    }
}

pub(crate) fn token_of(key: &TokenKey, sandbox: &SandboxId, scope: Scope) -> String {
    let mut token = key.derive(&format!("token:{}:{sandbox}", scope.word()));
    token.truncate(TOKEN_CHARACTERS);
    token
}

pub(crate) fn is_token(
    key: &TokenKey,
    sandbox: &SandboxId,
    token: &str,
    port: Option<Port>,
) -> bool {
    let mut scopes = Scope::ALL.into_iter().filter(|scope| scope.opens(port));
    scopes.any(|scope| is_same(token_of(key, sandbox, scope), token))
}

/// Whether it is the token of a sandbox, whatever it opens there.
pub(crate) fn is_of(key: &TokenKey, sandbox: &SandboxId, token: &str) -> bool {
    let mut scopes = Scope::ALL.into_iter();
    scopes.any(|scope| is_same(token_of(key, sandbox, scope), token))
}

/// `EXPIRY.SIGNATURE`.
pub(crate) fn pass_of(key: &TokenKey, sandbox: &SandboxId, port: Port, expires_at: i64) -> String {
    let signature = key.derive(&format!("pass:{sandbox}:{port}:{expires_at}"));
    format!("{expires_at}.{signature}")
}

pub(crate) fn is_pass(
    key: &TokenKey,
    sandbox: &SandboxId,
    port: Port,
    pass: &str,
    now: Timestamp,
) -> bool {
    let expiry = pass.split_once('.').and_then(|(at, _)| at.parse().ok());
    expiry.is_some_and(|expires_at: i64| {
        now.as_second() < expires_at && is_same(pass_of(key, sandbox, port, expires_at), pass)
    })
}

/// A label in the form that fits into a host name; None for an id that is not one of ours, or a time that has no room.
pub(crate) fn label_of(
    key: &TokenKey,
    sandbox: &SandboxId,
    port: Port,
    expires_at: i64,
) -> Option<String> {
    let id = uuid::Uuid::try_parse(sandbox.as_str()).ok()?;
    let mut bytes = Vec::with_capacity(LABEL_BYTES);
    bytes.push(LABEL_VERSION);
    bytes.extend(id.as_bytes());
    bytes.extend(u32::try_from(expires_at).ok()?.to_be_bytes());
    bytes.extend(label_mac(key, &bytes, port)?);
    let mut label = BASE32_NOPAD.encode(&bytes);
    label.make_ascii_lowercase();
    Some(label)
}

/// The sandbox and the end of a label that was signed for this port.
pub(crate) fn read_label(
    key: &TokenKey,
    label: &str,
    port: Port,
) -> Option<(SandboxId, Timestamp)> {
    if label.len() != LABEL_CHARACTERS {
        return None;
    }
    // Host names have no case.
    let bytes = BASE32_NOPAD.decode(label.to_ascii_uppercase().as_bytes());
    let bytes: [u8; LABEL_BYTES] = bytes.ok()?.try_into().ok()?;
    let (said, mac) = bytes.split_last_chunk::<LABEL_MAC_BYTES>()?;
    if !is_same(label_mac(key, said, port)?, mac) {
        return None;
    }
    let (version, rest) = said.split_first()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let expires_at = u32::from_be_bytes(rest.try_into().ok()?);
    let sandbox = SandboxId::from_uuid(uuid::Uuid::from_bytes(*id));
    let expires_at = Timestamp::from_second(i64::from(expires_at)).ok()?;
    (*version == LABEL_VERSION).then_some((sandbox, expires_at))
}

fn label_mac(key: &TokenKey, said: &[u8], port: Port) -> Option<[u8; LABEL_MAC_BYTES]> {
    let mac = key.derive(&format!("label:{port}:{}", hex::encode(said)));
    let mac = hex::decode(mac).ok()?;
    mac.first_chunk().copied()
}

/// Under what an ended label is written down: not the label, which is a credential.
pub(crate) fn label_id(label: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(label.to_ascii_lowercase().as_bytes()))
}

/// Compares without telling by the time it takes how much is right.
fn is_same(ours: impl AsRef<[u8]>, theirs: impl AsRef<[u8]>) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(ours.as_ref(), theirs.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    fn sandbox() -> SandboxId {
        "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap()
    }

    #[test]
    fn a_label_fits_into_a_host_name_and_is_good_for_its_port_alone() {
        let key = TokenKey::new([1; 32]);
        let label = label_of(&key, &sandbox(), port(65535), 2_000_000_000).unwrap();
        assert_eq!(label.len(), LABEL_CHARACTERS);
        assert!("65535-".len() + label.len() <= 63);
        let read = read_label(&key, &label, port(65535));
        assert_eq!(
            read,
            Some((sandbox(), Timestamp::from_second(2_000_000_000).unwrap()))
        );
        assert_eq!(
            read_label(&key, &label.to_ascii_uppercase(), port(65535)),
            read
        );
        assert_eq!(read_label(&key, &label, port(65534)), None);
        assert_eq!(
            read_label(&TokenKey::new([2; 32]), &label, port(65535)),
            None
        );
        // An id or a name is no label.
        assert_eq!(read_label(&key, sandbox().as_str(), port(65535)), None);
        assert_eq!(label_of(&key, &"box".parse().unwrap(), port(1), 1), None);
    }

    #[test]
    fn a_token_for_ports_does_not_open_what_runs_programs() {
        let key = TokenKey::new([1; 32]);
        let ports = token_of(&key, &sandbox(), Scope::Ports);
        let all = token_of(&key, &sandbox(), Scope::All);
        assert!(is_token(&key, &sandbox(), &ports, Some(port(3000))));
        assert!(is_token(&key, &sandbox(), &all, Some(port(3000))));
        for reserved in [Some(port(2280)), Some(port(22222)), Some(port(33333)), None] {
            assert!(!is_token(&key, &sandbox(), &ports, reserved));
            assert!(is_token(&key, &sandbox(), &all, reserved));
        }
        let other = "11111111-d9cb-469f-a165-70867728950e".parse().unwrap();
        assert!(!is_token(&key, &other, &all, Some(port(3000))));
        assert!(!is_token(&key, &sandbox(), "", Some(port(3000))));
    }

    #[test]
    fn a_pass_is_good_for_one_port_of_one_sandbox_until_its_time() {
        let key = TokenKey::new([1; 32]);
        let pass = pass_of(&key, &sandbox(), port(80), 100);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(is_pass(&key, &sandbox(), port(80), &pass, at(99)));
        assert!(!is_pass(&key, &sandbox(), port(80), &pass, at(100)));
        assert!(!is_pass(&key, &sandbox(), port(81), &pass, at(99)));
        let later = pass.replacen("100", "200", 1);
        assert!(!is_pass(&key, &sandbox(), port(80), &later, at(99)));
    }

    proptest! {
        #[test]
        fn no_changed_label_is_good(place in 0..LABEL_CHARACTERS, by in 1_u8..32) {
            const DIGITS: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
            let key = TokenKey::new([1; 32]);
            let mut label = label_of(&key, &sandbox(), port(80), 100).unwrap().into_bytes();
            let digit = DIGITS.iter().position(|digit| *digit == label[place]).unwrap();
            label[place] = DIGITS[(digit + usize::from(by)) % 32];
            let label = String::from_utf8(label).unwrap();
            prop_assert_eq!(read_label(&key, &label, port(80)), None);
        }

        #[test]
        fn no_text_breaks_the_reading(label in "[ -~]{0,80}") {
            let key = TokenKey::new([1; 32]);
            prop_assert_eq!(read_label(&key, &label, port(80)), None);
        }
    }
}
