//! Public keys of users, which open SSH sessions in the sandboxes of an organization.

use std::sync::Arc;

use alcove_domain::ssh_key::{KEYS_MAX, name};
use alcove_domain::{
    OrganizationId, Permission, Reason, SshKey, SshKeyFingerprint, SshKeyId, SshPublicKey, UserId,
};
use alcove_store::StoreError;
use sha2::{Digest as _, Sha256};

use crate::directory::Entry;
use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::ssh::{Opener, SshRefusal, SshSession, begin};
use crate::{Caller, Error};

/// Owners of one key that are looked at when it comes. A key belongs to one person, who may be in some organizations.
const OWNERS_MAX: u64 = 100;

/// The caller's own, in the caller's organization.
pub(crate) async fn list(shared: &Shared, caller: &Caller) -> Result<Vec<SshKey>, Error> {
    let reader = shared.store.reader();
    let found = reader.ssh_key_list(&caller.organization, &caller.user);
    found
        .await
        .map_err(|error| Error::store("listing SSH keys", error))
}

/// Lets a key in, in the caller's name.
pub(crate) async fn create(
    shared: &Shared,
    caller: &Caller,
    line: &str,
    said: Option<&str>,
) -> Result<SshKey, Error> {
    caller.require(Permission::WriteSandboxes)?;
    if !shared.settings.has_ssh {
        return Err(Error::refused(vec![Reason::unsupported(
            "This server takes no SSH connections",
        )]));
    }
    let invalid = |text: String| Error::refused(vec![Reason::invalid(text)]);
    let (public, comment) =
        SshPublicKey::parse(line).map_err(|refusal| invalid(refusal.to_string()))?;
    let fingerprint = fingerprint(public.as_bytes());
    let name = name(said, comment, fingerprint).map_err(invalid)?;
    let (org, user) = (&caller.organization, &caller.user);
    let key = SshKey {
        id: SshKeyId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: org.clone(),
        user_id: user.clone(),
        name,
        public,
        fingerprint,
        created_at: shared.clock.now(),
    };
    let failed = |error| Error::store("adding an SSH key", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    if tx
        .ssh_key_holds(org, user, fingerprint)
        .await
        .map_err(failed)?
    {
        return Err(Error::Conflict {
            message: format!("You have the SSH key {fingerprint} already"),
            code: "CONFLICT",
            state: None,
        });
    }
    if tx.ssh_key_count(org, user).await.map_err(failed)? >= KEYS_MAX {
        return Err(Error::QuotaExceeded {
            message: format!("SSH key quota exceeded. Maximum allowed: {KEYS_MAX}"),
        });
    }
    tx.ssh_key_insert(&key).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    tracing::info!(
        user.id = %user,
        ssh_key.id = %key.id,
        "SSH key {} ({fingerprint}) opens the sandboxes of organization {org}",
        key.id
    );
    Ok(key)
}

/// Takes a key of the caller's back, and ends the sessions that it opened.
pub(crate) async fn delete(shared: &Arc<Shared>, caller: &Caller, id: &str) -> Result<(), Error> {
    caller.require(Permission::WriteSandboxes)?;
    let not_found = || Error::NotFound {
        message: format!("SSH key with ID {id} not found"),
    };
    let key: SshKeyId = id.parse().map_err(|_| not_found())?;
    let doing = "removing an SSH key";
    let (org, user, removed) = (
        caller.organization.clone(),
        caller.user.clone(),
        key.clone(),
    );
    let task = |shared: Arc<Shared>| async move {
        let failed = |error| Error::store(doing, error);
        let tx = shared.store.begin().await.map_err(failed)?;
        let deleted = tx.ssh_key_delete(&org, &user, &removed).await;
        let was_there = deleted.map_err(failed)?;
        if was_there {
            tx.commit().await.map_err(failed)?;
            shared.ssh_sessions.end_of_key(&removed);
        }
        Ok(was_there)
    };
    // A caller that goes away must not leave sessions of a key that is gone.
    if !shared.finish_shared(doing, task).await? {
        return Err(not_found());
    }
    tracing::info!(user.id = %caller.user, ssh_key.id = %key, "SSH key {key} removed");
    Ok(())
}

/// Opens a session in a sandbox, called by id or name, for whoever has shown to have the key.
///
/// A key that nobody let in, a sandbox that is not there and one of another organization are all
/// [`SshRefusal::Unknown`].
pub(crate) async fn open(
    shared: &Arc<Shared>,
    id_or_name: &str,
    key: &[u8],
) -> Result<SshSession, SshRefusal> {
    let failed = |error| SshRefusal::Unavailable(Error::store("looking an SSH key up", error));
    let reader = shared.store.reader();
    let owners = reader.ssh_key_find(fingerprint(key), OWNERS_MAX);
    let mut found = Vec::new();
    for owner in owners.await.map_err(failed)? {
        let entry = shared.directory.find(&owner.organization_id, id_or_name);
        if let Some(entry) = entry
            && may_open(shared, &owner.organization_id, &owner.user_id)
                .await
                .map_err(failed)?
        {
            found.push((owner, entry));
        }
    }
    let (owner, entry) = only(found.into_iter()).ok_or(SshRefusal::Unknown)?;
    let session = begin(shared, entry, Opener::Key(owner.id.clone()), None)?;
    // Once more, now that a removal of the key or of its user's rights would find the session: none can fall in between.
    let is_good = reader.ssh_key_exists(&owner.id).await.map_err(failed)?
        && may_open(shared, &owner.organization_id, &owner.user_id)
            .await
            .map_err(failed)?;
    if is_good {
        Ok(session)
    } else {
        Err(SshRefusal::Unknown)
    }
}

/// Whether the user may run programs in the organization's sandboxes now.
async fn may_open(
    shared: &Shared,
    org: &OrganizationId,
    user: &UserId,
) -> Result<bool, StoreError> {
    let rights = shared.rights(org, user).await?;
    Ok(rights.is_some_and(|(_, rights)| rights.contains(Permission::WriteSandboxes)))
}

/// Ends the sessions that a user's keys have opened in an organization, if the user may not open any more, after that was
/// written down. Keys of whoever is no member are removed.
pub(crate) async fn recheck(
    shared: &Shared,
    org: &OrganizationId,
    user: &UserId,
) -> Result<(), Error> {
    let failed = |error| Error::store("ending SSH sessions", error);
    if may_open(shared, org, user).await.map_err(failed)? {
        return Ok(());
    }
    let keys = shared.store.reader().ssh_key_list(org, user).await;
    let keys = keys.map_err(failed)?;
    for key in &keys {
        shared.ssh_sessions.end_of_key(&key.id);
    }
    let is_member = shared.store.reader().member_find(org, user).await;
    if is_member.map_err(failed)?.is_some() || keys.is_empty() {
        return Ok(());
    }
    let tx = shared.store.begin().await.map_err(failed)?;
    for key in &keys {
        let deleted = tx.ssh_key_delete(org, user, &key.id).await;
        deleted.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}

/// The one sandbox that is meant. A name that means two, in two organizations of a person, means neither.
fn only(mut found: impl Iterator<Item = (SshKey, Arc<Entry>)>) -> Option<(SshKey, Arc<Entry>)> {
    let first = found.next()?;
    let is_only = found.all(|(_, other)| other.id == first.1.id);
    is_only.then_some(first)
}

fn fingerprint(key: &[u8]) -> SshKeyFingerprint {
    SshKeyFingerprint(Sha256::digest(key).into())
}
