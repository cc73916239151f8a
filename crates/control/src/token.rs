//! Short-lived credentials that say themselves whom they are for. Nothing is kept of them: who has the key can
//! tell that they are ours.

use std::fmt;

use alcove_domain::OrganizationId;
use aws_lc_rs::hmac;
use jiff::Timestamp;

const VERSION: &str = "v1";
/// Longest text that is looked at; ours are shorter.
const TOKEN_MAX_BYTES: usize = 512;

/// Signs tokens of one purpose. Another purpose has another key.
pub(crate) struct TokenKey(hmac::Key);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub organization: OrganizationId,
    /// In whole seconds.
    pub expires_at: Timestamp,
    /// Letters and digits that make the token one of its kind.
    pub mark: String,
}

impl TokenKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// `v1.SECONDS.MARK.ORGANIZATION.SIGNATURE`.
    pub fn sign(&self, claims: &Claims) -> String {
        let text = format!(
            "{VERSION}.{}.{}.{}",
            claims.expires_at.as_second(),
            claims.mark,
            claims.organization
        );
        let signature = hmac::sign(&self.0, text.as_bytes());
        format!("{text}.{}", hex::encode(signature))
    }

    /// What a token of ours says, if it is one that has not expired.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Claims> {
        if token.len() > TOKEN_MAX_BYTES {
            return None;
        }
        let (text, signature) = token.rsplit_once('.')?;
        let signature = hex::decode(signature).ok()?;
        hmac::verify(&self.0, text.as_bytes(), &signature).ok()?;
        // An organization's id may hold dots itself.
        let mut parts = text.splitn(4, '.');
        if parts.next()? != VERSION {
            return None;
        }
        let expires_at = Timestamp::from_second(parts.next()?.parse().ok()?).ok()?;
        let mark = parts.next()?.to_owned();
        let organization = parts.next()?.parse().ok()?;
        (now < expires_at).then_some(Claims {
            organization,
            expires_at,
            mark,
        })
    }

    /// A secret that follows from a text, for whoever has the key.
    pub fn derive(&self, text: &str) -> String {
        hex::encode(hmac::sign(&self.0, format!("derive:{text}").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_only_as_it_was_signed() {
        let key = TokenKey::new([1; 32]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let claims = Claims {
            organization: "a.b-c".parse().unwrap(),
            expires_at: at(100),
            mark: "abc".to_owned(),
        };
        let token = key.sign(&claims);
        assert_eq!(key.verify(&token, at(99)), Some(claims.clone()));
        assert_eq!(key.verify(&token, at(100)), None);
        assert_eq!(TokenKey::new([2; 32]).verify(&token, at(0)), None);
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.verify(&changed, at(0)), None, "{changed}");
        }
        assert_eq!(key.verify("", at(0)), None);
        assert_eq!(key.verify(&token.replace('.', ""), at(0)), None);
        assert_ne!(key.derive("a"), key.derive("b"));
    }
}
