//! Secrets that the server makes for itself, once each: what it signs tokens and cursors with.
//!
//! They lie in the store sealed like those of people: who has a copy of the database alone forges nothing.

use alcove_store::{SealedPlace, Store, Tx};

use crate::seal::SealingKeys;
use crate::shared::Parts;
use crate::{Error, Rng};

const PLACE: SealedPlace = SealedPlace::OwnSecret;
const BYTES: usize = 32;

/// Finds and makes them.
pub(crate) struct OwnSecrets<'a> {
    store: &'a Store,
    rng: &'a dyn Rng,
    keys: Option<&'a SealingKeys>,
}

impl<'a> OwnSecrets<'a> {
    pub(crate) fn of(parts: &'a Parts) -> Self {
        Self {
            store: &parts.store,
            rng: &*parts.rng,
            keys: parts.settings.sealing_key.as_ref(),
        }
    }

    /// The secret of this name, made if there is none.
    ///
    /// One that no key opens is lost with its key. A new one takes its place, so that the server starts; what the old one signed
    /// is worth nothing then.
    pub(crate) async fn get(&self, name: &str) -> Result<[u8; BYTES], Error> {
        let failed = |error| Error::store("reading a secret of the server", error);
        let tx = self.store.begin().await.map_err(failed)?;
        let kept = tx.secret_find(name).await.map_err(failed)?;
        // Earlier versions kept it as it is, and what is sealed is longer.
        let plain = kept
            .as_deref()
            .and_then(|kept| <[u8; BYTES]>::try_from(kept).ok());
        let secret = match (kept, plain, self.keys) {
            (_, Some(plain), None) => return Ok(plain),
            (_, Some(plain), Some(_)) => plain,
            (None, None, _) => self.make(),
            (Some(_), None, None) => {
                return Err(Error::Internal {
                    doing: "opening a secret of the server, which is sealed, without a key",
                    cause: None,
                });
            }
            (Some(sealed), None, Some(keys)) => {
                if let Some(secret) = open(keys, name, &sealed) {
                    return Ok(secret);
                }
                tracing::warn!(
                    "the secret {name} of the server does not open with any key and is made anew: what it has signed is good no more"
                );
                self.make()
            }
        };
        let bytes = self.bytes(&tx, name, &secret)?;
        tx.secret_put(name, &bytes).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(secret)
    }

    fn make(&self) -> [u8; BYTES] {
        let mut secret = [0; BYTES];
        self.rng.fill(&mut secret);
        secret
    }

    /// As it is kept.
    fn bytes(&self, tx: &Tx, name: &str, secret: &[u8; BYTES]) -> Result<Vec<u8>, Error> {
        let Some(keys) = self.keys else {
            return Ok(secret.to_vec());
        };
        let sealed = keys.seal(tx, self.rng, PLACE, name, &hex::encode(secret));
        sealed.map_err(|error| Error::Internal {
            doing: "sealing a secret of the server",
            cause: Some(Box::new(error)),
        })
    }
}

fn open(keys: &SealingKeys, name: &str, sealed: &[u8]) -> Option<[u8; BYTES]> {
    let text = keys.open(PLACE, name, sealed).ok()?;
    let mut secret = [0; BYTES];
    hex::decode_to_slice(text, &mut secret).ok()?;
    Some(secret)
}
