//! A new key takes the place of the one that seals secrets.
//!
//! 1. The new key is kept before the old one, and seals from then on.
//! 2. What another key seals is sealed anew, a batch at a time.
//! 3. When nothing in the store is sealed with an older key, the older keys are dropped.
//!
//! All that is known of it is which keys are kept: with more than one, whoever opens the store goes on at 2. So a kill at any
//! moment loses nothing, and each secret can be opened all the time.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::Sandbox;
use alcove_store::{SealedPlace, SealedRow, StoreError, Tx};

use crate::Error;
use crate::probe::Step;
use crate::seal::{DoesNotOpen, SealingKeys};
use crate::shared::Shared;

/// Secrets that are sealed anew in one transaction. Everybody who writes waits meanwhile.
const BATCH: u64 = 100;
/// Until another try, where the store or the disk fails.
const RETRY: Duration = Duration::from_secs(10);

/// Does what is left to do whenever there is more than one key.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Some(keys) = shared.settings.sealing_key.clone() else {
        return;
    };
    let mut status = keys.watch();
    loop {
        if status
            .wait_for(|keys| !keys.older.is_empty())
            .await
            .is_err()
        {
            return;
        }
        match settle(&shared, &keys).await {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "cannot seal secrets with the new key");
                shared.clock.sleep(RETRY).await;
            }
        }
    }
}

/// Seals everything with the newest key and drops the others.
async fn settle(shared: &Shared, keys: &SealingKeys) -> Result<(), Error> {
    let mut sealed = 0;
    for place in SealedPlace::ALL {
        sealed += seal_anew(shared, keys, place).await?;
    }
    let _turn = keys.turn().await;
    let tx = shared.store.begin().await.map_err(failed)?;
    for place in SealedPlace::ALL {
        if is_needed(&tx, keys, place).await? {
            // Written by who had sealed it before the key was there. The next round has it.
            return Ok(());
        }
    }
    keys.drop_older(&tx).await.map_err(not_kept)?;
    drop(tx);
    shared.reached(Step::KeyDropped).await;
    tracing::info!("all secrets are sealed with one key again; {sealed} were sealed anew");
    Ok(())
}

/// How many were sealed anew.
async fn seal_anew(shared: &Shared, keys: &SealingKeys, place: SealedPlace) -> Result<u64, Error> {
    let (mut after, mut sealed) = (String::new(), 0);
    loop {
        let tx = shared.store.begin().await.map_err(failed)?;
        let current = keys.prefix();
        let rows = tx.sealed_list_foreign(place, &current, &after, BATCH);
        let rows = rows.await.map_err(failed)?;
        let Some(last) = rows.last() else {
            return Ok(sealed);
        };
        after.clone_from(&last.id);
        for SealedRow { id, owner, bytes } in &rows {
            let Ok(secret) = keys.open(place, owner, bytes) else {
                // It was so before, with every key that there was.
                tracing::error!("{place:?} of {id} does not open, and stays as it is");
                continue;
            };
            let anew = keys.seal(&tx, &*shared.rng, place, owner, &secret);
            let anew = anew.map_err(unopened)?;
            tx.sealed_replace(place, id, &anew).await.map_err(failed)?;
            sealed += 1;
        }
        tx.commit().await.map_err(failed)?;
        shared.reached(Step::Resealed).await;
    }
}

/// Whether something opens with an older key alone.
async fn is_needed(tx: &Tx, keys: &SealingKeys, place: SealedPlace) -> Result<bool, Error> {
    let mut after = String::new();
    loop {
        let current = keys.prefix();
        let rows = tx.sealed_list_foreign(place, &current, &after, BATCH);
        let rows = rows.await.map_err(failed)?;
        let Some(last) = rows.last() else {
            return Ok(false);
        };
        after.clone_from(&last.id);
        let opens = |row: &SealedRow| keys.open(place, &row.owner, &row.bytes).is_ok();
        if rows.iter().any(opens) {
            return Ok(true);
        }
    }
}

/// Sees to it that the proxy of a sandbox that this transaction has written is sealed with the key of now: it was sealed
/// before, or is another sandbox's.
pub(crate) async fn settle_proxy(
    shared: &Shared,
    tx: &Tx,
    sandbox: &Sandbox,
) -> Result<(), StoreError> {
    let (Some(keys), Some(sealed)) = (&shared.settings.sealing_key, &sandbox.outbound_proxy) else {
        return Ok(());
    };
    if keys.is_current(&sealed.0) {
        return Ok(());
    }
    let (place, owner) = (SealedPlace::SandboxProxy, sandbox.organization_id.as_str());
    let anew = keys
        .open(place, owner, &sealed.0)
        .and_then(|secret| keys.seal(tx, &*shared.rng, place, owner, &secret));
    let Ok(anew) = anew else {
        // It has been so with its parent, or before the keys changed: it stays as it is, and is said when it is needed.
        return Ok(());
    };
    tx.sealed_replace(place, sandbox.id.as_str(), &anew).await
}

pub(crate) fn failed(error: StoreError) -> Error {
    Error::store("sealing secrets anew", error)
}

pub(crate) fn not_kept(error: std::io::Error) -> Error {
    Error::Internal {
        doing: "writing down the keys",
        cause: Some(Box::new(error)),
    }
}

fn unopened(error: DoesNotOpen) -> Error {
    Error::Internal {
        doing: "sealing a secret anew",
        cause: Some(Box::new(error)),
    }
}
