//! Other people's secrets, as they lie in the store.
//!
//! Sealed with AES-256-GCM under a key that is not in the store, so that neither the database nor a copy of it
//! gives them away. What a secret belongs to is bound in: a row's bytes open in no other row.
//!
//! ```text
//! 2 │ id of the key, 8 bytes │ nonce, 12 bytes │ secret and tag
//! 1 │ nonce, 12 bytes │ secret and tag                            as earlier versions wrote it
//! ```
//!
//! There are several keys while one takes the place of another; see `sealing.rs`. Which one seals changes only in somebody's
//! turn to write, and who seals shows that it is theirs: so no row is written under a key that has been dropped.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use alcove_store::{SealedPlace, Tx};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::Rng;

/// Without the id of a key.
const FIRST_VERSION: u8 = 1;
const VERSION: u8 = 2;
const KEY_ID_BYTES: usize = 8;

/// A key that seals. Losing it loses what was sealed with it.
#[derive(Clone)]
pub struct SealingKey([u8; 32]);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// Bytes that were not sealed with a key that there is, or not for this purpose.
#[derive(Debug, thiserror::Error)]
#[error("a sealed secret does not open")]
pub(crate) struct DoesNotOpen;

impl SealingKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What tells it from others, and nothing of it.
    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let hash = Sha256::new_with_prefix(b"alcove sealing key")
            .chain_update(self.0)
            .finalize();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        id
    }

    fn key(&self) -> Result<LessSafeKey, DoesNotOpen> {
        UnboundKey::new(&AES_256_GCM, &self.0)
            .map(LessSafeKey::new)
            .map_err(|_| DoesNotOpen)
    }

    /// What all begins with that it seals.
    fn prefix(&self) -> Vec<u8> {
        [&[VERSION], self.id().as_slice()].concat()
    }

    fn seal(&self, rng: &dyn Rng, of: &str, secret: &str) -> Result<Vec<u8>, DoesNotOpen> {
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
        Ok([self.prefix().as_slice(), &nonce, &sealed].concat())
    }

    /// From the nonce on.
    fn open(&self, of: &str, rest: &[u8]) -> Result<String, DoesNotOpen> {
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

/// Keeps the keys where the next process finds them.
pub trait KeyKeeper: fmt::Debug + Send + Sync + 'static {
    /// Keeps these, the one that seals first, in place of those before. They are on the disk when this returns; where it
    /// fails, those before are. Blocks.
    fn keep(&self, keys: &[SealingKey]) -> io::Result<()>;
}

/// Which keys there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingStatus {
    /// The id of the key that seals.
    pub current: String,
    /// Those of keys that something is still sealed with.
    pub older: Vec<String>,
}

/// The keys of a server. Clones are the same ones.
#[derive(Clone)]
pub struct SealingKeys {
    inner: Arc<Inner>,
}

struct Inner {
    keys: RwLock<Keys>,
    keeper: Arc<dyn KeyKeeper>,
    status: watch::Sender<SealingStatus>,
    /// Held by who adds or drops keys, and by who needs that nobody does.
    turn: Arc<Mutex<()>>,
}

struct Keys {
    current: SealingKey,
    older: Vec<SealingKey>,
    /// Nothing in the store is sealed with them. What was read before may be, as long as this process lives.
    retired: Vec<SealingKey>,
}

impl Keys {
    fn status(&self) -> SealingStatus {
        SealingStatus {
            current: hex::encode(self.current.id()),
            older: self.older.iter().map(|key| hex::encode(key.id())).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.current)
            .chain(&self.older)
            .chain(&self.retired)
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKeys(..)")
    }
}

impl SealingKeys {
    /// `older` are those that an earlier process had not done with.
    pub fn new(current: SealingKey, older: Vec<SealingKey>, keeper: Arc<dyn KeyKeeper>) -> Self {
        let keys = Keys {
            current,
            older,
            retired: Vec::new(),
        };
        Self {
            inner: Arc::new(Inner {
                status: watch::Sender::new(keys.status()),
                keys: RwLock::new(keys),
                keeper,
                turn: Arc::default(),
            }),
        }
    }

    pub fn status(&self) -> SealingStatus {
        self.inner.status.borrow().clone()
    }

    /// Sees each change of the keys.
    pub(crate) fn watch(&self) -> watch::Receiver<SealingStatus> {
        self.inner.status.subscribe()
    }

    /// Waits until nobody adds or drops a key, and keeps it so.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.inner.turn).lock_owned().await
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        let keys = self.inner.keys.read();
        keys.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Keys> {
        let keys = self.inner.keys.write();
        keys.unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals a secret that is written in this transaction.
    pub(crate) fn seal(
        &self,
        _turn: &Tx,
        rng: &dyn Rng,
        place: SealedPlace,
        owner: &str,
        secret: &str,
    ) -> Result<Vec<u8>, DoesNotOpen> {
        self.seal_early(rng, place, owner, secret)
    }

    /// Seals a secret that is written later. Whoever writes it looks whether it [`Self::is_current`] still.
    pub(crate) fn seal_early(
        &self,
        rng: &dyn Rng,
        place: SealedPlace,
        owner: &str,
        secret: &str,
    ) -> Result<Vec<u8>, DoesNotOpen> {
        let current = self.read().current.clone();
        current.seal(rng, &purpose(place, owner), secret)
    }

    pub(crate) fn open(
        &self,
        place: SealedPlace,
        owner: &str,
        sealed: &[u8],
    ) -> Result<String, DoesNotOpen> {
        let of = purpose(place, owner);
        let keys = self.read();
        match sealed.split_first() {
            Some((&VERSION, rest)) => {
                let (id, rest) = rest
                    .split_first_chunk::<KEY_ID_BYTES>()
                    .ok_or(DoesNotOpen)?;
                let key = keys.all().find(|key| key.id() == *id).ok_or(DoesNotOpen)?;
                key.open(&of, rest)
            }
            Some((&FIRST_VERSION, rest)) => keys
                .all()
                .find_map(|key| key.open(&of, rest).ok())
                .ok_or(DoesNotOpen),
            _ => Err(DoesNotOpen),
        }
    }

    /// What all begins with that is sealed from now on.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        self.read().current.prefix()
    }

    pub(crate) fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&self.prefix())
    }

    /// Makes a new key, which seals from now on. It is kept before it seals anything.
    pub(crate) async fn add(&self, _turn: &Tx, rng: &dyn Rng) -> io::Result<()> {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        let mut kept = vec![SealingKey::new(bytes)];
        {
            let keys = self.read();
            kept.push(keys.current.clone());
            kept.extend(keys.older.iter().cloned());
        }
        self.keep(kept.clone()).await?;
        let status = {
            let mut keys = self.write();
            let mut kept = kept.into_iter();
            if let Some(new) = kept.next() {
                keys.current = new;
            }
            keys.older = kept.collect();
            keys.status()
        };
        self.inner.status.send_replace(status);
        Ok(())
    }

    /// Drops all keys but the one that seals. Nothing in the store may be sealed with them.
    pub(crate) async fn drop_older(&self, _turn: &Tx) -> io::Result<()> {
        let current = self.read().current.clone();
        self.keep(vec![current]).await?;
        let status = {
            let mut keys = self.write();
            let older = std::mem::take(&mut keys.older);
            keys.retired.extend(older);
            keys.status()
        };
        self.inner.status.send_replace(status);
        Ok(())
    }

    async fn keep(&self, keys: Vec<SealingKey>) -> io::Result<()> {
        let keeper = Arc::clone(&self.inner.keeper);
        let kept = tokio::task::spawn_blocking(move || keeper.keep(&keys)).await;
        kept.map_err(io::Error::other)?
    }
}

/// What a secret is bound to.
fn purpose(place: SealedPlace, owner: &str) -> String {
    match place {
        SealedPlace::RegistryPassword => format!("registry:{owner}"),
        SealedPlace::WebhookSecret | SealedPlace::OldWebhookSecret => format!("webhook:{owner}"),
        SealedPlace::Totp => format!("totp:{owner}"),
        SealedPlace::VaultSecret => format!("secret:{owner}"),
        SealedPlace::OwnSecret => format!("the server's own: {owner}"),
        SealedPlace::OtelHeaders => format!("otel headers of {owner}"),
        SealedPlace::ClientSecret => format!("client secret of {owner}"),
        // A fork takes its bytes over, and stays in the organization.
        SealedPlace::SandboxProxy => format!("outbound proxy of {owner}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::SystemRng;

    const PLACE: SealedPlace = SealedPlace::Totp;

    #[derive(Debug)]
    struct Nowhere;

    impl KeyKeeper for Nowhere {
        fn keep(&self, _: &[SealingKey]) -> io::Result<()> {
            Ok(())
        }
    }

    fn keys(current: u8, older: &[u8]) -> SealingKeys {
        let older = older.iter().map(|byte| SealingKey::new([*byte; 32]));
        let older = older.collect();
        SealingKeys::new(SealingKey::new([current; 32]), older, Arc::new(Nowhere))
    }

    fn seal(keys: &SealingKeys) -> Vec<u8> {
        keys.seal_early(&SystemRng, PLACE, "a", "pass word")
            .unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_for_its_owner_only() {
        let keys_7 = keys(7, &[]);
        let sealed = seal(&keys_7);
        assert!(!sealed.windows(4).any(|window| window == b"pass"));
        assert_ne!(sealed, seal(&keys_7));
        assert_eq!(keys_7.open(PLACE, "a", &sealed).unwrap(), "pass word");
        assert!(keys_7.open(PLACE, "b", &sealed).is_err());
        let other = SealedPlace::WebhookSecret;
        assert!(keys_7.open(other, "a", &sealed).is_err());
        assert!(keys(8, &[]).open(PLACE, "a", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(keys_7.open(PLACE, "a", &sealed[..cut]).is_err());
            let mut changed = sealed.clone();
            changed[cut] ^= 1;
            assert!(keys_7.open(PLACE, "a", &changed).is_err());
        }
        let said = format!("{:?} {:?}", SealingKey::new([7; 32]), keys_7);
        assert_eq!(said, "SealingKey(..) SealingKeys(..)");
    }

    #[test]
    fn an_older_key_opens_and_the_newest_one_seals() {
        let sealed = seal(&keys(7, &[]));
        let both = keys(8, &[7]);
        assert_eq!(both.open(PLACE, "a", &sealed).unwrap(), "pass word");
        assert!(!both.is_current(&sealed));
        let anew = seal(&both);
        assert!(both.is_current(&anew));
        assert!(keys(7, &[]).open(PLACE, "a", &anew).is_err());
        assert_eq!(keys(8, &[]).open(PLACE, "a", &anew).unwrap(), "pass word");
    }

    #[test]
    fn what_was_sealed_before_keys_had_ids_opens_with_whichever_of_them_it_was() {
        let sealed = seal(&keys(7, &[]));
        let first = [&[FIRST_VERSION], &sealed[1 + KEY_ID_BYTES..]].concat();
        for opens in [keys(7, &[]), keys(8, &[7])] {
            assert_eq!(opens.open(PLACE, "a", &first).unwrap(), "pass word");
            assert!(!opens.is_current(&first));
        }
        assert!(keys(8, &[]).open(PLACE, "a", &first).is_err());
    }
}
