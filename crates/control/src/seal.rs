//! Other people's secrets, as they lie in the store.
//!
//! Sealed with AES-256-GCM under a key that is not in the store, so that neither the database nor a copy of it
//! gives them away. What a secret belongs to is bound in: a row's bytes open in no other row.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::Rng;

/// Stands before the nonce, for the day on which another way of sealing is added.
const VERSION: u8 = 1;

/// The key that seals. Losing it loses what was sealed.
#[derive(Clone)]
pub struct SealingKey([u8; 32]);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// Bytes that were not sealed with this key for this purpose.
#[derive(Debug, thiserror::Error)]
#[error("a sealed secret does not open")]
pub(crate) struct DoesNotOpen;

impl SealingKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn key(&self) -> Result<LessSafeKey, DoesNotOpen> {
        UnboundKey::new(&AES_256_GCM, &self.0)
            .map(LessSafeKey::new)
            .map_err(|_| DoesNotOpen)
    }

    /// `of` is what the secret belongs to.
    pub(crate) fn seal(
        &self,
        rng: &dyn Rng,
        of: &str,
        secret: &str,
    ) -> Result<Vec<u8>, DoesNotOpen> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce);
        let mut sealed = secret.as_bytes().to_vec();
        self.key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(of.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| DoesNotOpen)?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, of: &str, sealed: &[u8]) -> Result<String, DoesNotOpen> {
        let Some((&VERSION, rest)) = sealed.split_first() else {
            return Err(DoesNotOpen);
        };
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(DoesNotOpen)?;
        let mut opened = rest.to_vec();
        let secret = self
            .key()?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(of.as_bytes()),
                &mut opened,
            )
            .map_err(|_| DoesNotOpen)?;
        String::from_utf8(secret.to_vec()).map_err(|_| DoesNotOpen)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::SystemRng;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_for_its_owner_only() {
        let key = SealingKey::new([7; 32]);
        let sealed = key.seal(&SystemRng, "a", "pass word").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"pass"));
        assert_ne!(sealed, key.seal(&SystemRng, "a", "pass word").unwrap());
        assert_eq!(key.open("a", &sealed).unwrap(), "pass word");
        assert!(key.open("b", &sealed).is_err());
        assert!(SealingKey::new([8; 32]).open("a", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(key.open("a", &sealed[..cut]).is_err());
            let mut changed = sealed.clone();
            changed[cut] ^= 1;
            assert!(key.open("a", &changed).is_err());
        }
        assert_eq!(format!("{key:?}"), "SealingKey(..)");
    }
}
