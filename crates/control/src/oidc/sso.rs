//! Identity providers of organizations: named by their owners, asked when somebody comes by them.
//!
//! Whoever names a provider can make it say anything of anybody. So what it says opens the organization that has named it and
//! nothing else, and its people are told apart from those of every other provider (`Identity::issuer_of`).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use alcove_domain::sso::{PROVIDERS_MAX, issuer_fault};
use alcove_domain::{OrganizationId, Reason, SsoProvider, SsoProviderId, SsoProviderRequest};
use alcove_store::{SealedPlace, SealedSsoProvider, Tx};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::issuer::{DocumentSource, IdentityProvider, Issuer, TokenError};
use crate::error::Cause;
use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::{Caller, Error, sign_in};

/// Providers whose keys are in memory; a full memory starts anew.
const ISSUERS_MAX: usize = 1_000;
/// Issuers that are tried at once, of all organizations.
const TESTS_MAX: usize = 4;

/// A code of a sign-in, on its way to the provider that gave it.
#[derive(Clone)]
pub struct CodeExchange {
    pub url: String,
    /// Names and values of a form.
    pub form: Vec<(&'static str, String)>,
    /// What the server is called there and its secret, where they go in the header.
    pub basic: Option<(String, String)>,
}

impl fmt::Debug for CodeExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeExchange")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The way to providers that owners of organizations have named. It connects to public addresses only, unless the operator has
/// named the host.
#[async_trait]
pub trait SsoWeb: DocumentSource {
    /// Whether the operator has named this host.
    fn is_known(&self, host: &str) -> bool;

    /// What a provider gives for a code, if that is no more than so many bytes.
    async fn exchange(&self, code: CodeExchange, max_bytes: u64) -> Result<Vec<u8>, Cause>;
}

/// What is in memory of the providers of organizations.
pub(crate) struct SsoWork {
    /// Those with one that lets people in.
    enabled: RwLock<BTreeSet<(OrganizationId, SsoProviderId)>>,
    issuers: Mutex<HashMap<SsoProviderId, Arc<Issuer>>>,
    tests: Semaphore,
}

impl Default for SsoWork {
    fn default() -> Self {
        Self {
            enabled: RwLock::default(),
            issuers: Mutex::default(),
            tests: Semaphore::new(TESTS_MAX),
        }
    }
}

impl SsoWork {
    pub fn has(&self, org: &OrganizationId) -> bool {
        let enabled = self.enabled.read().unwrap_or_else(PoisonError::into_inner);
        enabled.iter().any(|(of, _)| of == org)
    }

    fn put(&self, provider: &SsoProvider) {
        let key = (provider.organization_id.clone(), provider.id.clone());
        let mut enabled = self.enabled.write().unwrap_or_else(PoisonError::into_inner);
        if provider.is_enabled {
            enabled.insert(key);
        } else {
            enabled.remove(&key);
        }
        drop(enabled);
        // Another issuer, or another name there, is another one to ask.
        lock(&self.issuers).remove(&provider.id);
    }

    fn remove(&self, provider: &SsoProvider) {
        self.put(&SsoProvider {
            is_enabled: false,
            ..provider.clone()
        });
    }

    /// Nobody is let into an organization that is given up.
    pub fn forget(&self, org: &OrganizationId) {
        let mut enabled = self.enabled.write().unwrap_or_else(PoisonError::into_inner);
        enabled.retain(|(of, _)| of != org);
    }
}

/// Takes up which organizations have a provider.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let found = shared.store.reader().sso_provider_list_all().await;
    let found = found.map_err(|error| Error::store("reading identity providers", error))?;
    for sealed in found {
        shared.sso.put(&sealed.provider);
    }
    Ok(())
}

/// The way out, where there is one, and a key to keep secrets with.
pub(super) fn web(shared: &Shared) -> Result<Arc<dyn SsoWeb>, Error> {
    let refused = |message| Error::refused(vec![Reason::unsupported(message)]);
    if shared.settings.sealing_key.is_none() {
        return Err(refused("This server has no key to seal secrets with"));
    }
    let web = shared.settings.sso.clone();
    web.ok_or_else(|| refused("This server asks no identity providers of organizations"))
}

fn issuer_of(web: Arc<dyn SsoWeb>, issuer: &str, client_id: &str) -> Issuer {
    Issuer::new(IdentityProvider {
        issuer: issuer.to_owned(),
        audience: client_id.to_owned(),
        client_id: client_id.to_owned(),
        documents: web,
    })
}

/// What is known of a provider's issuer, in memory.
pub(super) fn issuer(shared: &Shared, provider: &SsoProvider) -> Result<Arc<Issuer>, Error> {
    let web = web(shared)?;
    let mut issuers = lock(&shared.sso.issuers);
    if let Some(known) = issuers.get(&provider.id)
        && known.is_of(&provider.issuer, &provider.client_id)
    {
        return Ok(Arc::clone(known));
    }
    if issuers.len() >= ISSUERS_MAX {
        issuers.clear();
    }
    let issuer = Arc::new(issuer_of(web, &provider.issuer, &provider.client_id));
    issuers.insert(provider.id.clone(), Arc::clone(&issuer));
    Ok(issuer)
}

pub(crate) fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Identity provider with ID {id} not found"),
    }
}

pub(crate) async fn list(shared: &Shared, org: &OrganizationId) -> Result<Vec<SsoProvider>, Error> {
    let found = shared.store.reader().sso_provider_list(org).await;
    let found = found.map_err(|error| Error::store("listing identity providers", error))?;
    Ok(found.into_iter().map(|sealed| sealed.provider).collect())
}

pub(crate) async fn find(
    shared: &Shared,
    org: &OrganizationId,
    id: &str,
) -> Result<SsoProvider, Error> {
    let key: SsoProviderId = id.parse().map_err(|_| not_found(id))?;
    let found = shared.store.reader().sso_provider_find(&key).await;
    let found = found.map_err(|error| Error::store("looking for an identity provider", error))?;
    found
        .map(|sealed| sealed.provider)
        .filter(|provider| provider.organization_id == *org)
        .ok_or_else(|| not_found(id))
}

/// The client's secret, sealed for its provider.
fn seal(shared: &Shared, tx: &Tx, provider: &SsoProvider, secret: &str) -> Result<Vec<u8>, Error> {
    let (place, id) = (SealedPlace::ClientSecret, provider.id.as_str());
    let sealed = shared
        .sealing_key()?
        .seal(tx, &*shared.rng, place, id, secret);
    sealed.map_err(|error| Error::Internal {
        doing: "sealing a client secret",
        cause: Some(Box::new(error)),
    })
}

pub(super) fn open(shared: &Shared, sealed: &SealedSsoProvider) -> Result<String, Error> {
    let (place, id) = (SealedPlace::ClientSecret, sealed.provider.id.as_str());
    let opened = shared.sealing_key()?.open(place, id, &sealed.client_secret);
    opened.map_err(|error| Error::Internal {
        doing: "opening a client secret",
        cause: Some(Box::new(error)),
    })
}

pub(crate) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: SsoProviderRequest,
) -> Result<SsoProvider, Error> {
    let web = web(shared)?;
    if shared.current_organization(caller).await?.is_personal {
        return Err(Error::forbidden(
            "Nobody comes into a personal organization",
        ));
    }
    let now = shared.clock.now();
    let secret = request.client_secret.clone().unwrap_or_default();
    let empty = SsoProvider {
        id: SsoProviderId::from_uuid(uuid_v4(&*shared.rng)),
        organization_id: caller.organization.clone(),
        name: String::new(),
        issuer: String::new(),
        client_id: String::new(),
        scope: None,
        domains: Vec::new(),
        allows_any_domain: false,
        trusts_addresses: false,
        roles: Vec::new(),
        is_enabled: true,
        created_at: now,
        updated_at: now,
    };
    let roles = shared.roles_of(&caller.organization).await?;
    let checked = request.check(empty, &roles, |host| web.is_known(host));
    let provider = checked.map_err(Error::refused)?;
    let written = sign_in::change(
        shared,
        "adding an identity provider",
        move |shared, tx| async move {
            let failed = |error| Error::store("adding an identity provider", error);
            let org = &provider.organization_id;
            tx.organization_hold(org).await.map_err(failed)?;
            check_roles(&tx, &provider).await?;
            if tx.sso_provider_count(org).await.map_err(failed)? >= PROVIDERS_MAX {
                return Err(Error::QuotaExceeded {
                    message: format!(
                        "An organization can have at most {PROVIDERS_MAX} identity providers"
                    ),
                });
            }
            let client_secret = seal(&shared, &tx, &provider, &secret)?;
            let sealed = SealedSsoProvider {
                provider,
                client_secret,
            };
            tx.sso_provider_insert(&sealed).await.map_err(failed)?;
            Ok((tx, sealed.provider))
        },
    );
    let made = written.await?;
    shared.sso.put(&made);
    tracing::info!(
        organization.id = %made.organization_id,
        "people of {} are let into organization {}", made.issuer, made.organization_id
    );
    Ok(made)
}

/// A role that went meanwhile would be given for ever.
async fn check_roles(tx: &Tx, provider: &SsoProvider) -> Result<(), Error> {
    let own = tx.role_list(&provider.organization_id).await;
    let own = own.map_err(|error| Error::store("looking at roles", error))?;
    let built_in = alcove_domain::role::built_in(provider.created_at);
    let mut known = own.iter().chain(&built_in).map(|role| &role.id);
    let known: BTreeSet<_> = known.by_ref().collect();
    if provider.roles.iter().all(|id| known.contains(id)) {
        Ok(())
    } else {
        Err(Error::conflict("ROLE_GONE", "A role was removed meanwhile"))
    }
}

/// Changes a provider. Sessions that it began end where it lets nobody in any more, and where it is another issuer: then its
/// people are others too.
pub(crate) async fn update(
    shared: &Arc<Shared>,
    caller: &Caller,
    id: &str,
    request: SsoProviderRequest,
) -> Result<SsoProvider, Error> {
    let web = web(shared)?;
    let key: SsoProviderId = id.parse().map_err(|_| not_found(id))?;
    let roles = shared.roles_of(&caller.organization).await?;
    let org = caller.organization.clone();
    let written = sign_in::change(
        shared,
        "changing an identity provider",
        move |shared, tx| async move {
            let failed = |error| Error::store("changing an identity provider", error);
            let found = tx.sso_provider_find(&key).await.map_err(failed)?;
            let before = found
                .filter(|sealed| sealed.provider.organization_id == org)
                .ok_or_else(|| not_found(key.as_str()))?;
            let secret = request.client_secret.clone();
            let checked = request.check(before.provider.clone(), &roles, |host| web.is_known(host));
            let mut provider = checked.map_err(Error::refused)?;
            provider.updated_at = shared.clock.now();
            check_roles(&tx, &provider).await?;
            let is_other = provider.issuer != before.provider.issuer;
            if is_other {
                forget_people(&tx, &before.provider).await?;
            } else if !provider.is_enabled {
                let ended = tx.login_session_delete_by_sso(&key).await;
                ended.map_err(failed)?;
            }
            let client_secret = match secret {
                Some(secret) => seal(&shared, &tx, &provider, &secret)?,
                None => before.client_secret,
            };
            let sealed = SealedSsoProvider {
                provider,
                client_secret,
            };
            if !tx.sso_provider_update(&sealed).await.map_err(failed)? {
                return Err(not_found(key.as_str()));
            }
            Ok((tx, sealed.provider))
        },
    );
    let changed = written.await?;
    shared.sso.put(&changed);
    Ok(changed)
}

/// Nobody is known by a provider any more, and nobody stays by it.
async fn forget_people(tx: &Tx, provider: &SsoProvider) -> Result<(), Error> {
    let failed = |error| Error::store("forgetting people of an identity provider", error);
    let (org, id) = (&provider.organization_id, &provider.id);
    tx.login_session_delete_by_sso(id).await.map_err(failed)?;
    tx.pending_sso_link_delete_of(id).await.map_err(failed)?;
    let deleted = tx.identity_delete_of_sso(org, Some(id)).await;
    deleted.map_err(failed)
}

/// Removes a provider. Sessions that it began end; who came by it stays a member.
pub(crate) async fn delete(shared: &Arc<Shared>, caller: &Caller, id: &str) -> Result<(), Error> {
    let provider = find(shared, &caller.organization, id).await?;
    let gone = provider.clone();
    sign_in::change(
        shared,
        "removing an identity provider",
        move |_, tx| async move {
            let failed = |error| Error::store("removing an identity provider", error);
            if !tx.sso_provider_delete(&gone.id).await.map_err(failed)? {
                return Err(not_found(gone.id.as_str()));
            }
            forget_people(&tx, &gone).await?;
            Ok((tx, ()))
        },
    )
    .await?;
    shared.sso.remove(&provider);
    Ok(())
}

/// What an issuer calls itself, or why it is none that people can come by.
pub(crate) async fn test(shared: &Shared, issuer: &str) -> Result<Result<String, String>, Error> {
    let web = web(shared)?;
    Error::check(Vec::from_iter(issuer_fault(issuer, |host| {
        web.is_known(host)
    })))?;
    let Ok(_turn) = shared.sso.tests.try_acquire() else {
        return Err(Error::TooManyRequests {
            message: "Other identity providers are being tried; try again later",
            retry_after: std::time::Duration::from_secs(10),
        });
    };
    let asked = issuer_of(web, issuer, "");
    Ok(match asked.endpoints(&*shared.clock).await {
        Ok((_, name)) => Ok(name),
        Err(TokenError::Bad) => Err("it does not describe itself".to_owned()),
        Err(TokenError::Unavailable(cause)) => Err(chain(&*cause)),
    })
}

/// An error with what it came from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
