//! Public keys of users, which open SSH sessions in the sandboxes of an organization.

use std::sync::Arc;

use alcove_domain::ssh_key::{KEYS_MAX, name};
use alcove_domain::{Permission, Reason, SshKey, SshKeyFingerprint, SshKeyId, SshPublicKey};
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
pub(crate) async fn delete(shared: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
    caller.require(Permission::WriteSandboxes)?;
    let not_found = || Error::NotFound {
        message: format!("SSH key with ID {id} not found"),
    };
    let key: SshKeyId = id.parse().map_err(|_| not_found())?;
    let failed = |error| Error::store("removing an SSH key", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    let deleted = tx.ssh_key_delete(&caller.organization, &caller.user, &key);
    if !deleted.await.map_err(failed)? {
        return Err(not_found());
    }
    tx.commit().await.map_err(failed)?;
    shared.ssh_sessions.end_of_key(&key);
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
    let owners = owners.await.map_err(failed)?;
    let found = owners.into_iter().filter_map(|owner| {
        let entry = shared.directory.find(&owner.organization_id, id_or_name)?;
        Some((owner.id, entry))
    });
    let (owner, entry) = only(found).ok_or(SshRefusal::Unknown)?;
    let session = begin(shared, entry, Opener::Key(owner.clone()), None)?;
    // Once more, now that a removal would find the session: none can fall in between.
    if reader.ssh_key_exists(&owner).await.map_err(failed)? {
        Ok(session)
    } else {
        Err(SshRefusal::Unknown)
    }
}

/// The one sandbox that is meant. A name that means two, in two organizations of a person, means neither.
fn only(mut found: impl Iterator<Item = (SshKeyId, Arc<Entry>)>) -> Option<(SshKeyId, Arc<Entry>)> {
    let first = found.next()?;
    let is_only = found.all(|(_, other)| other.id == first.1.id);
    is_only.then_some(first)
}

fn fingerprint(key: &[u8]) -> SshKeyFingerprint {
    SshKeyFingerprint(Sha256::digest(key).into())
}
