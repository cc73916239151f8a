//! API keys, as their holders see them. How a key becomes a caller is told in `auth`.

use std::sync::Arc;

use alcove_domain::{
    ApiKey, DeviceCodeHash, MemberRole, NewApiKey, OrganizationId, Permissions, Reason, User,
    UserId,
};
use alcove_store::{StoreError, Tx};

use crate::auth::{hash, last_characters};
use crate::shared::Shared;
use crate::{Caller, Error};

/// Keys that one user may have in an organization: enough for any use, and a bound to what one can fill.
const KEYS_MAX: u64 = 1_000;

/// What the original's keys begin with; some programs look for it before they send anything.
const PREFIX: &str = "dtn_";

/// A new key with its text, which is shown this once.
#[derive(Debug)]
pub struct CreatedApiKey {
    pub key: ApiKey,
    pub text: String,
}

/// Name of the key that a new user can be given.
const FIRST_KEY_NAME: &str = "first";

/// Makes a key of the caller's user, in the caller's organization where no other is named.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    wish: NewApiKey,
    organization: Option<&str>,
) -> Result<CreatedApiKey, Error> {
    caller.require_keys()?;
    let elsewhere = organization.filter(|id| *id != caller.organization.as_str());
    let (organization, rights) = match elsewhere {
        None => (
            caller.organization.clone(),
            Permissions::clone(&caller.permissions),
        ),
        Some(id) => rights_elsewhere(shared, caller, id).await?,
    };
    let beyond = wish.permissions.beyond(&rights);
    if !beyond.is_empty() {
        let words: Vec<&str> = beyond
            .iter()
            .map(|permission| permission.as_str())
            .collect();
        return Err(Error::Forbidden {
            message: format!(
                "Insufficient permissions for assigning: {}",
                words.join(", ")
            ),
        });
    }
    if wish.permissions == Permissions::all() && !caller.is_whole_user {
        // Such a key stands for all of its user, in other organizations too.
        return Err(Error::forbidden(
            "A key with every permission is made by its user alone: sign in without the identity provider of an organization",
        ));
    }
    let made = make(shared, organization, caller.user.clone(), wish);
    insert(shared, &made.key).await?;
    Ok(made)
}

/// What the caller's user may do in another organization, for a key that stands for all of the user.
async fn rights_elsewhere(
    shared: &Shared,
    caller: &Caller,
    id: &str,
) -> Result<(OrganizationId, Permissions), Error> {
    caller.require_user()?;
    let missing = || Error::NotFound {
        message: format!("Organization with ID {id} not found"),
    };
    let organization: OrganizationId = id.parse().map_err(|_| missing())?;
    let rights = shared.rights(&organization, &caller.user).await;
    let (_, rights) = rights
        .map_err(|error| Error::store("looking for a member", error))?
        .ok_or_else(missing)?;
    Ok((organization, rights))
}

/// A key to all of a new user, to be written with the user.
pub(crate) fn first_key(shared: &Shared, user: &User, home: &OrganizationId) -> CreatedApiKey {
    let wish = NewApiKey {
        name: FIRST_KEY_NAME.to_owned(),
        permissions: Permissions::all(),
        expires_at: None,
    };
    make(shared, home.clone(), user.id.clone(), wish)
}

/// A key of a person for a program that the person has let in.
///
/// # Errors
/// [`Error::Unauthenticated`] for whoever is no member of the organization any more, and for a code that is used up.
pub(crate) async fn device_key(
    shared: &Shared,
    tx: Tx,
    organization: OrganizationId,
    user: UserId,
    wish: NewApiKey,
    code: &DeviceCodeHash,
) -> Result<CreatedApiKey, Error> {
    let failed = |error| Error::store("making an API key", error);
    let made = make(shared, organization, user, wish);
    // With the key, so that a code is neither used twice nor used up for nothing.
    if !tx.device_login_delete(code).await.map_err(failed)? {
        return Err(Error::bad_credentials());
    }
    insert_in_tx(&tx, &made.key).await?;
    tx.commit().await.map_err(failed)?;
    Ok(made)
}

fn make(
    shared: &Shared,
    organization_id: OrganizationId,
    user_id: UserId,
    wish: NewApiKey,
) -> CreatedApiKey {
    let mut bytes = [0; 32];
    shared.rng.fill(&mut bytes);
    let text = format!("{PREFIX}{}", hex::encode(bytes));
    let key = ApiKey {
        hash: hash(&text),
        organization_id,
        user_id,
        name: wish.name,
        prefix: text.chars().take(3).collect(),
        suffix: last_characters(&text, 3),
        permissions: wish.permissions,
        created_at: shared.clock.now(),
        expires_at: wish.expires_at,
        last_used_at: None,
    };
    CreatedApiKey { key, text }
}

async fn insert(shared: &Shared, key: &ApiKey) -> Result<(), Error> {
    let failed = |error| Error::store("making an API key", error);
    let tx = shared.store.begin().await.map_err(failed)?;
    insert_in_tx(&tx, key).await?;
    tx.commit().await.map_err(failed)
}

async fn insert_in_tx(tx: &Tx, key: &ApiKey) -> Result<(), Error> {
    let failed = |error| match error {
        StoreError::NameTaken => Error::Conflict {
            message: "API key with this name already exists".to_owned(),
            code: "API_KEY_EXISTS",
            state: None,
        },
        other => Error::store("making an API key", other),
    };
    let count = tx.api_key_count(&key.organization_id, &key.user_id);
    if count.await.map_err(failed)? >= KEYS_MAX {
        return Err(Error::QuotaExceeded {
            message: format!("A user can have at most {KEYS_MAX} API keys in an organization"),
        });
    }
    // Whoever was removed meanwhile must not leave a key for the day of a return.
    let member = tx.member_find(&key.organization_id, &key.user_id).await;
    if member.map_err(failed)?.is_none() {
        return Err(Error::bad_credentials());
    }
    tx.api_key_insert(key).await.map_err(failed)
}

/// Those of the caller, or of the whole organization for its owner: what was used last first, then what is youngest.
pub(crate) async fn list(shared: &Shared, caller: &Caller) -> Result<Vec<ApiKey>, Error> {
    caller.require_keys()?;
    let user = (caller.role != MemberRole::Owner).then_some(&caller.user);
    let mut keys = shared
        .store
        .reader()
        .api_key_list(&caller.organization, user)
        .await
        .map_err(|error| Error::store("listing API keys", error))?;
    for key in &mut keys {
        key.last_used_at = key.last_used_at.max(shared.keys.used.last(&key.hash));
    }
    keys.sort_by(|one, other| {
        (other.last_used_at, other.created_at, &one.name).cmp(&(
            one.last_used_at,
            one.created_at,
            &other.name,
        ))
    });
    Ok(keys)
}

/// One of the caller's own.
pub(crate) async fn find(shared: &Shared, caller: &Caller, name: &str) -> Result<ApiKey, Error> {
    caller.require_keys()?;
    let mut key = find_of(shared, caller, &caller.user, name).await?;
    key.last_used_at = key.last_used_at.max(shared.keys.used.last(&key.hash));
    Ok(key)
}

async fn find_of(
    shared: &Shared,
    caller: &Caller,
    user: &UserId,
    name: &str,
) -> Result<ApiKey, Error> {
    let keys = shared
        .store
        .reader()
        .api_key_list(&caller.organization, Some(user))
        .await
        .map_err(|error| Error::store("looking for an API key", error))?;
    let key = keys.into_iter().find(|key| key.name == name);
    key.ok_or_else(not_found)
}

/// Ends a key: of the caller, or of another user of the caller's organization if the caller owns it. Written down before it
/// returns; what stays by the key is cut at once.
pub(crate) async fn delete(
    shared: &Arc<Shared>,
    caller: &Caller,
    user: &str,
    name: &str,
) -> Result<(), Error> {
    caller.require_keys()?;
    let user = user.parse().map_err(|_| not_found())?;
    if user != caller.user && caller.role != MemberRole::Owner {
        return Err(Error::access_denied());
    }
    let key = find_of(shared, caller, &user, name).await?;
    if shared.keys.is_operators(key.hash) {
        // The next start would make it again.
        return Err(Error::refused(vec![Reason::invalid(
            "The operator's key is set where the server is started, and changed there",
        )]));
    }
    let failed = |error| Error::store("deleting an API key", error);
    let (organization, name) = (caller.organization.clone(), name.to_owned());
    let task = {
        let shared = Arc::clone(shared);
        async move {
            let tx = shared.store.begin().await.map_err(failed)?;
            let was_there = tx.api_key_delete(&organization, &user, &name);
            if !was_there.await.map_err(failed)? {
                return Err(not_found());
            }
            tx.commit().await.map_err(failed)?;
            shared.keys.clear();
            Ok(())
        }
    };
    // A caller that goes away must not leave a deleted key that still opens.
    shared.finish("deleting an API key", task).await
}

fn not_found() -> Error {
    Error::NotFound {
        message: "API key not found".to_owned(),
    }
}
