//! The keys that seal secrets.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::probe::Step;
use crate::seal::{SealingKeys, SealingStatus};
use crate::sealing::{failed, not_kept};
use crate::{Control, Error};

/// As long as it lives, no key is added or dropped.
#[derive(Debug)]
pub struct KeysHeld(#[expect(dead_code, reason = "lives as long as this")] OwnedMutexGuard<()>);

impl Control {
    /// Which keys seal secrets; None if none are sealed.
    pub fn sealing_status(&self) -> Option<SealingStatus> {
        let keys = self.shared.settings.sealing_key.as_ref();
        keys.map(SealingKeys::status)
    }

    /// Makes a new key, and has everything sealed with it. The answer comes when secrets that are written are; those that
    /// there are follow in the background.
    ///
    /// # Errors
    /// [`Error::Conflict`] while an older key is not done with.
    pub async fn rotate_sealing_key(&self) -> Result<SealingStatus, Error> {
        let shared = Arc::clone(&self.shared);
        let rotate = async move {
            let keys = shared.sealing_key()?.clone();
            let _turn = keys.turn().await;
            if !keys.status().older.is_empty() {
                return Err(Error::conflict(
                    "KEY_ROTATION_UNDER_WAY",
                    "The key before this one is not done with",
                ));
            }
            // Whoever seals has this turn, so nobody does so with the key of before and writes after this.
            let tx = shared.store.begin().await.map_err(failed)?;
            keys.add(&tx, &*shared.rng).await.map_err(not_kept)?;
            drop(tx);
            shared.reached(Step::KeyAdded).await;
            let status = keys.status();
            tracing::info!(
                key.id = status.current,
                "key {} seals secrets now",
                status.current
            );
            Ok(status)
        };
        self.shared.finish("adding a key", rotate).await
    }

    /// Waits until everything is sealed with one key.
    pub async fn sealing_settled(&self) {
        if let Some(keys) = &self.shared.settings.sealing_key {
            let mut status = keys.watch();
            // The sender lives as long as the keys.
            let _ = status.wait_for(|status| status.older.is_empty()).await;
        }
    }

    /// Keeps keys from being added and dropped, for a copy of them and the store that belong together.
    pub async fn hold_sealing_keys(&self) -> Option<KeysHeld> {
        match &self.shared.settings.sealing_key {
            Some(keys) => Some(KeysHeld(keys.turn().await)),
            None => None,
        }
    }
}
