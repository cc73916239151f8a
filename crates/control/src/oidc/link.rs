//! A person of the identity provider who is a user already.
//!
//! The user shows both: a session here, and a token of the provider. Its tokens let the user in from then on, and change nothing
//! about the user.

use std::sync::Arc;

use alcove_domain::Reason;
use alcove_store::Identity;

use crate::shared::Shared;
use crate::sign_in::{self, session_of};
use crate::{Caller, Error};

/// What the server's provider is called in requests; those of organizations are called by their ids.
pub(crate) const PROVIDER: &str = "oidc";

/// A provider that a user can be linked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountProvider {
    pub id: String,
    /// Its address, or what its organization calls it.
    pub name: String,
    pub is_linked: bool,
}

pub(crate) async fn list(shared: &Shared, caller: &Caller) -> Result<Vec<AccountProvider>, Error> {
    caller.require_user()?;
    let failed = |error| Error::store("listing linked accounts", error);
    let reader = shared.store.reader();
    let own = reader.identity_list_of(&caller.user).await;
    let own = own.map_err(failed)?;
    let servers = shared.settings.identity_provider.as_ref();
    let servers = servers.map(|provider| AccountProvider {
        id: PROVIDER.to_owned(),
        name: provider.issuer.clone(),
        is_linked: own.iter().any(|it| it.sso_provider().is_none()),
    });
    let mut providers = Vec::from_iter(servers);
    // With one of an organization a user is linked by who comes by it, so only those that are linked are there.
    for identity in own.iter().filter(|it| it.is_linked) {
        let Some(id) = identity.sso_provider().and_then(|id| id.parse().ok()) else {
            continue;
        };
        let found = reader.sso_provider_find(&id).await.map_err(failed)?;
        providers.extend(found.map(|sealed| AccountProvider {
            id: id.to_string(),
            name: sealed.provider.name,
            is_linked: true,
        }));
    }
    Ok(providers)
}

fn check_provider(shared: &Shared, provider: &str) -> Result<(), Error> {
    if provider == PROVIDER && shared.issuer.is_some() {
        return Ok(());
    }
    Err(Error::NotFound {
        message: format!("There is no account provider {provider}"),
    })
}

/// Links who has signed in with the person whom a token means.
pub(crate) async fn link(
    shared: &Arc<Shared>,
    caller: &Caller,
    provider: &str,
    subject: &str,
    token: Option<&str>,
) -> Result<(), Error> {
    caller.require_user()?;
    session_of(caller)?;
    check_provider(shared, provider)?;
    let user = shared.current_user(caller).await?;
    if user.is_admin {
        return Err(Error::forbidden(
            "No token makes an administrator: an administrator's account cannot be linked",
        ));
    }
    if !user.is_email_verified {
        return Err(Error::forbidden("Please verify your email address"));
    }
    let invalid = |text: &str| Error::refused(vec![Reason::invalid(text)]);
    let token = token.ok_or_else(|| {
        invalid("token must be a token of the provider, which proves whose account it is")
    })?;
    let Some(issuer) = &shared.issuer else {
        return Err(Error::bad_credentials());
    };
    let claims = match issuer
        .verify(&*shared.clock, token)
        .await
        .map_err(Error::from)
    {
        Err(Error::Unauthenticated { .. }) => {
            return Err(invalid("token is none of the provider that holds now"));
        }
        other => other?,
    };
    if claims.subject().0 != subject || subject.is_empty() {
        return Err(invalid("userId must be whom the token means"));
    }
    let identity = Identity {
        issuer: claims.iss.clone(),
        subject: subject.to_owned(),
        user_id: user.id.clone(),
        is_linked: true,
    };
    let linked = sign_in::change(shared, "linking an account", move |_, tx| async move {
        let failed = |error| Error::store("linking an account", error);
        let found = tx.identity_find(&identity.issuer, &identity.subject).await;
        match found.map_err(failed)? {
            None => tx.identity_put(&identity).await.map_err(failed)?,
            Some(known) if known.user_id == identity.user_id => {}
            Some(_) => {
                return Err(Error::refused(vec![Reason::invalid(
                    "This account is linked with another user already",
                )]));
            }
        }
        Ok((tx, ()))
    });
    linked.await?;
    tracing::info!(user.id = %user.id, "user {} is linked with a person of the provider", user.id);
    Ok(())
}

/// Takes a link away. Tokens of that person are of somebody else from then on.
pub(crate) async fn unlink(
    shared: &Arc<Shared>,
    caller: &Caller,
    provider: &str,
    subject: &str,
) -> Result<(), Error> {
    caller.require_user()?;
    let failed = |error| Error::store("unlinking an account", error);
    let not_found = || Error::NotFound {
        message: format!("No account {subject} of {provider} is linked"),
    };
    let own = shared.store.reader().identity_list_of(&caller.user).await;
    let own = own.map_err(failed)?;
    let is_servers = check_provider(shared, provider);
    let is_servers = match is_servers {
        Err(error) if own.iter().all(|it| it.sso_provider() != Some(provider)) => {
            return Err(error);
        }
        other => other.is_ok(),
    };
    session_of(caller)?;
    let is_meant = |it: &Identity| match it.sso_provider() {
        None => is_servers,
        Some(id) => it.is_linked && id == provider,
    };
    let identity = own
        .into_iter()
        .rfind(|it| it.subject == subject && is_meant(it))
        .ok_or_else(not_found)?;
    let unlinked = sign_in::change(shared, "unlinking an account", move |_, tx| async move {
        let failed = |error| Error::store("unlinking an account", error);
        let password = tx.password_find(&identity.user_id).await.map_err(failed)?;
        if let Some(id) = identity.sso_provider().and_then(|id| id.parse().ok()) {
            // Whoever came by it stays no longer than it is linked.
            let ended = tx.login_session_delete_by_sso_of(&id, &identity.user_id);
            ended.await.map_err(failed)?;
        } else if password.is_none() {
            return Err(Error::conflict(
                "NO_PASSWORD",
                "Nothing else would let the user in; set a password first",
            ));
        }
        let (issuer, subject) = (&identity.issuer, &identity.subject);
        let deleted = tx.identity_delete(issuer, subject).await;
        if !deleted.map_err(failed)? {
            return Err(Error::NotFound {
                message: "The account is linked no more".to_owned(),
            });
        }
        Ok((tx, ()))
    });
    unlinked.await
}
