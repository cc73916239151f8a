//! Credentials of programs that serve the platform: made, rotated, ended, and known again.
//!
//! There are few, so all are in memory. One is found by what its text begins with, and compared without telling by the time it
//! takes how much is right.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use alcove_domain::service::{GOOD_AT_ONCE, OVERLAP_MAX_SECONDS, OVERLAP_SECONDS};
use alcove_domain::{
    Reason, ServiceCredential, ServiceCredentialHash, ServiceCredentialId, ServiceKeyHash,
    ServiceRole,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::auth::{BEARER_MAX_BYTES, last_characters};
use crate::fleet::service_key_hash;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::{Caller, Error};

/// All credentials, and who is at work on them.
#[derive(Default)]
pub(crate) struct ServiceCredentials {
    known: RwLock<Vec<Arc<Known>>>,
    writing: Mutex<()>,
}

struct Known {
    credential: ServiceCredential,
    /// In milliseconds; zero before the first use since the server was started.
    used_at_ms: AtomicI64,
}

/// A credential as the administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCredentialView {
    pub credential: ServiceCredential,
    /// None where it was not used since the server was started.
    pub last_used_at: Option<Timestamp>,
}

/// A new credential with its text, which is shown this once.
#[derive(Debug)]
pub struct CreatedServiceCredential {
    pub credential: ServiceCredential,
    pub text: String,
}

impl ServiceCredentials {
    fn all(&self) -> Vec<Arc<Known>> {
        let known = self.known.read();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what is written down. Of those that stay, when they were used is kept.
    fn set(&self, mut credentials: Vec<ServiceCredential>) {
        // By role, and the newest first: it is the one that no other has taken the place of.
        credentials.sort_by_key(|it| (it.role, it.ends_at.is_some(), Reverse(it.created_at)));
        let before = self.all();
        let known = credentials.into_iter().map(|credential| {
            let same = before.iter().find(|old| old.credential.id == credential.id);
            let used_at_ms = same.map_or(0, |old| old.used_at_ms.load(Ordering::Relaxed));
            Arc::new(Known {
                credential,
                used_at_ms: used_at_ms.into(),
            })
        });
        let known = known.collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

fn hash(text: &str) -> ServiceCredentialHash {
    ServiceCredentialHash(Sha256::digest(text.as_bytes()).into())
}

/// Takes up what was written down.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let found = shared.store.reader().service_credential_list().await;
    let found = found.map_err(|error| Error::store("reading service credentials", error))?;
    shared.services.set(found);
    Ok(())
}

/// Which role a text is the credential of now.
pub(crate) fn authenticate(shared: &Shared, text: &str) -> Result<ServiceRole, Error> {
    // The key that the server was started with is a credential of its role, and nothing else.
    let is_set =
        |key: &ServiceKeyHash| verify_slices_are_equal(&key.0, &service_key_hash(text).0).is_ok();
    if shared.settings.proxy_key.as_ref().is_some_and(is_set) {
        return Ok(ServiceRole::Proxy);
    }
    let role = ServiceRole::of_text(text).filter(|_| text.len() <= BEARER_MAX_BYTES);
    let role = role.ok_or_else(Error::bad_credentials)?;
    let (hash, now) = (hash(text), shared.clock.now());
    let mut found = None;
    for known in shared.services.all() {
        let credential = &known.credential;
        if credential.role == role
            && credential.is_good(now)
            && verify_slices_are_equal(&credential.hash.0, &hash.0).is_ok()
        {
            found = Some(known);
        }
    }
    let known = found.ok_or_else(Error::bad_credentials)?;
    known
        .used_at_ms
        .store(now.as_millisecond(), Ordering::Relaxed);
    Ok(role)
}

pub(crate) async fn list(
    shared: &Shared,
    caller: &Caller,
) -> Result<Vec<ServiceCredentialView>, Error> {
    shared.require_admin(caller).await?;
    let now = shared.clock.now();
    let views = shared.services.all().into_iter();
    let views = views.filter(|known| known.credential.is_good(now));
    Ok(views
        .map(|known| {
            let used_at_ms = known.used_at_ms.load(Ordering::Relaxed);
            ServiceCredentialView {
                credential: known.credential.clone(),
                last_used_at: (used_at_ms > 0)
                    .then(|| Timestamp::from_millisecond(used_at_ms).ok())
                    .flatten(),
            }
        })
        .collect())
}

/// Makes a credential of a role. The newest one that there was is good for a while longer, and no other.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    role: &str,
    overlap_seconds: Option<i64>,
) -> Result<CreatedServiceCredential, Error> {
    let failed = |error| Error::store("making a service credential", error);
    shared.require_admin(caller).await?;
    let (role, overlap) = check(role, overlap_seconds)?;
    let mut random = [0; 32];
    shared.rng.fill(&mut random);
    let text = format!("{}{}", role.prefix(), hex::encode(random));
    let now = shared.clock.now();
    let credential = ServiceCredential {
        id: ServiceCredentialId::from_uuid(uuid_v4(&*shared.rng)),
        role,
        hash: hash(&text),
        suffix: last_characters(&text, 3),
        created_at: now,
        ends_at: None,
    };
    let task = {
        let (shared, credential) = (Arc::clone(shared), credential.clone());
        async move {
            let _writing = shared.services.writing.lock().await;
            let tx = shared.store.begin().await.map_err(failed)?;
            let others = shared.services.all().into_iter();
            // The newest first.
            let others = others.map(|known| known.credential.clone());
            let others: Vec<_> = others.filter(|other| other.role == role).collect();
            let ends_at = now.saturating_add(overlap).unwrap_or(now);
            let stays = |other: &&ServiceCredential| other.is_good(now) && ends_at > now;
            let (kept, gone): (Vec<_>, Vec<_>) = others.iter().partition(stays);
            let (kept, beyond) = kept.split_at(kept.len().min(GOOD_AT_ONCE - 1));
            for other in kept {
                let ends_at = other.ends_at.map_or(ends_at, |before| before.min(ends_at));
                let ended = tx.service_credential_end(&other.id, ends_at).await;
                ended.map_err(failed)?;
            }
            for other in gone.into_iter().chain(beyond.iter().copied()) {
                let deleted = tx.service_credential_delete(&other.id).await;
                deleted.map_err(failed)?;
            }
            let inserted = tx.service_credential_insert(&credential).await;
            inserted.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            load(&shared).await
        }
    };
    shared.finish("making a service credential", task).await?;
    tracing::info!(user.id = %caller.user, "a credential for {role} was made by user {}", caller.user);
    Ok(CreatedServiceCredential { credential, text })
}

/// Ends a credential at once.
pub(crate) async fn delete(shared: &Arc<Shared>, caller: &Caller, id: &str) -> Result<(), Error> {
    let failed = |error| Error::store("ending a service credential", error);
    shared.require_admin(caller).await?;
    let not_found = || Error::NotFound {
        message: "Service credential not found".to_owned(),
    };
    let id: ServiceCredentialId = id.parse().map_err(|_| not_found())?;
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let _writing = shared.services.writing.lock().await;
            let tx = shared.store.begin().await.map_err(failed)?;
            let deleted = tx.service_credential_delete(&id).await;
            if !deleted.map_err(failed)? {
                return Err(not_found());
            }
            tx.commit().await.map_err(failed)?;
            load(&shared).await
        }
    };
    shared.finish("ending a service credential", task).await
}

fn check(role: &str, overlap: Option<i64>) -> Result<(ServiceRole, SignedDuration), Error> {
    let mut reasons = Vec::new();
    let found = ServiceRole::parse(role);
    if found.is_none() {
        let known = ServiceRole::ALL.map(ServiceRole::as_str).join(", ");
        reasons.push(Reason::invalid(format!(
            "role must be one of the following values: {known}"
        )));
    }
    let seconds = overlap.unwrap_or(OVERLAP_SECONDS);
    if !(0..=OVERLAP_MAX_SECONDS).contains(&seconds) {
        reasons.push(Reason::invalid(format!(
            "previousEndsInSeconds must be 0 to {OVERLAP_MAX_SECONDS}"
        )));
    }
    match found {
        Some(role) if reasons.is_empty() => Ok((role, SignedDuration::from_secs(seconds))),
        _ => Err(Error::refused(reasons)),
    }
}
