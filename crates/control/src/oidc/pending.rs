//! People of an organization's provider who may be users already: they wait until the user says so.
//!
//! The first sign-in made a user of its own, so that nobody learns from it which addresses are known here. Where the other user
//! says that both are one, the person is that user from then on, who takes the membership over.

use std::sync::Arc;

use alcove_domain::{Access, Member, MemberRole, PendingSsoLink, PendingSsoLinkId, UserId};
use alcove_store::{Identity, Tx};

use crate::shared::Shared;
use crate::{Caller, CameWith, Error, sign_in, ssh_keys};

/// A person who waits, as the user is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSsoLinkView {
    pub link: PendingSsoLink,
    /// What its organization calls the provider.
    pub provider: String,
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Pending link with ID {id} not found"),
    }
}

pub(crate) async fn list(
    shared: &Shared,
    caller: &Caller,
) -> Result<Vec<PendingSsoLinkView>, Error> {
    caller.require_user()?;
    let failed = |error| Error::store("listing pending links", error);
    let reader = shared.store.reader();
    let now = shared.clock.now();
    let found = reader.pending_sso_link_list(&caller.user, now).await;
    let mut views = Vec::new();
    for link in found.map_err(failed)? {
        let provider = reader.sso_provider_find(&link.provider_id).await;
        views.extend(provider.map_err(failed)?.map(|sealed| PendingSsoLinkView {
            link,
            provider: sealed.provider.name,
        }));
    }
    Ok(views)
}

/// Who says so must be there: a key is not.
fn person(caller: &Caller) -> Result<UserId, Error> {
    caller.require_user()?;
    match caller.came_with {
        CameWith::Session(_) | CameWith::Token { .. } => Ok(caller.user.clone()),
        CameWith::Key(_) => Err(Error::wrong_credential()),
    }
}

/// One that waits for this user.
async fn find(shared: &Shared, tx: &Tx, user: &UserId, id: &str) -> Result<PendingSsoLink, Error> {
    let key: PendingSsoLinkId = id.parse().map_err(|_| not_found(id))?;
    let found = tx.pending_sso_link_find(&key).await;
    let found = found.map_err(|error| Error::store("looking for a pending link", error))?;
    found
        .filter(|link| link.user_id == *user && shared.clock.now() < link.expires_at)
        .ok_or_else(|| not_found(id))
}

/// The person who waits is not the caller, and stays the user that the first sign-in has made.
pub(crate) async fn dismiss(shared: &Arc<Shared>, caller: &Caller, id: &str) -> Result<(), Error> {
    let (user, id) = (person(caller)?, id.to_owned());
    sign_in::change(
        shared,
        "dismissing a pending link",
        move |shared, tx| async move {
            let failed = |error| Error::store("dismissing a pending link", error);
            let link = find(&shared, &tx, &user, &id).await?;
            let deleted = tx.pending_sso_link_delete(&link.id).await;
            deleted.map_err(failed)?;
            Ok((tx, ()))
        },
    )
    .await
}

/// The person who waits is the caller: signs in as the caller from now on, into the provider's organization alone.
pub(crate) async fn confirm(shared: &Arc<Shared>, caller: &Caller, id: &str) -> Result<(), Error> {
    let (user, id) = (person(caller)?, id.to_owned());
    let task = |shared: Arc<Shared>| async move { write_confirmed(&shared, user, id).await };
    // A caller that goes away must not leave sessions of keys that open nothing any more.
    shared
        .finish_shared("confirming a pending link", task)
        .await
}

async fn write_confirmed(shared: &Arc<Shared>, user: UserId, id: String) -> Result<(), Error> {
    let confirmed_by = user.clone();
    let link = sign_in::change(
        shared,
        "confirming a pending link",
        move |shared, tx| async move {
            let failed = |error| Error::store("confirming a pending link", error);
            let link = find(&shared, &tx, &user, &id).await?;
            let gone = || not_found(&id);
            let known = tx.user_find(&user).await.map_err(failed)?;
            if known.ok_or_else(gone)?.is_admin {
                return Err(Error::forbidden(
                    "Nobody else makes an administrator: an administrator's account cannot be linked",
                ));
            }
            let provider = tx.sso_provider_find(&link.provider_id).await;
            let provider = provider.map_err(failed)?.ok_or_else(gone)?.provider;
            let org = &provider.organization_id;
            tx.organization_hold(org).await.map_err(|_| gone())?;
            let issuer = Identity::issuer_of(&provider);
            let identity = tx.identity_find(&issuer, &link.subject).await;
            let made = &link.made_user_id;
            identity
                .map_err(failed)?
                .filter(|identity| identity.user_id == *made)
                .ok_or_else(gone)?;
            move_membership(&shared, &tx, &link, &user).await?;
            let deleted = tx.identity_delete(&issuer, &link.subject).await;
            deleted.map_err(failed)?;
            let identity = Identity {
                issuer,
                subject: link.subject.clone(),
                user_id: user,
                is_linked: true,
            };
            tx.identity_put(&identity).await.map_err(failed)?;
            let ended = tx.login_session_delete_all(made).await;
            ended.map_err(failed)?;
            let deleted = tx.pending_sso_link_delete(&link.id).await;
            deleted.map_err(failed)?;
            Ok((tx, link))
        },
    )
    .await?;
    tracing::info!(
        user.id = %confirmed_by,
        "user {confirmed_by} is a person of the identity provider {}", link.provider_id
    );
    ssh_keys::recheck(shared, &link.organization_id, &link.made_user_id).await
}

/// Gives what the made user is in the organization to another, who keeps what is there already. Whoever was removed meanwhile has
/// nothing to give.
async fn move_membership(
    shared: &Shared,
    tx: &Tx,
    link: &PendingSsoLink,
    to: &UserId,
) -> Result<(), Error> {
    let failed = |error| Error::store("moving a membership", error);
    let (org, made) = (&link.organization_id, &link.made_user_id);
    let from = tx.member_find(org, made).await.map_err(failed)?;
    let from = from.ok_or_else(|| not_found(link.id.as_str()))?;
    let there = tx.member_find(org, to).await.map_err(failed)?;
    let is_owner = |access: &Access| access.role == MemberRole::Owner;
    let now = shared.clock.now();
    let next = match there {
        // The organization keeps its owner.
        Some(there) if is_owner(&there.access) || !is_owner(&from.access) => None,
        Some(there) => Some(Member {
            access: from.access,
            updated_at: now,
            ..there
        }),
        None => Some(Member {
            user_id: to.clone(),
            updated_at: now,
            ..from
        }),
    };
    if let Some(next) = next {
        tx.member_put(&next).await.map_err(failed)?;
    }
    tx.member_delete(org, made).await.map_err(failed)?;
    tx.api_key_delete_all(org, made).await.map_err(failed)
}
