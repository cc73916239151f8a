//! Registries of organizations, and who may come into the server's own.

use alcove_domain::registry::{REGISTRIES_MAX, fitting};
use alcove_domain::snapshot::{registry_of, repository_of};
use alcove_domain::{
    OrganizationId, Permission, Registry, RegistryId, RegistryKind, RegistryRequest, Secret,
};
use alcove_runner_api::RegistryCredentials;
use alcove_store::{SealedPlace, SealedRegistry, Tx};
use jiff::{SignedDuration, Timestamp};

use crate::rng::uuid_v4;
use crate::shared::Shared;
use crate::token::Claims;
use crate::{Caller, Error, SealingKeys};

/// How long what a client logs in to the server's own registry with is good.
const PUSH_ACCESS_LASTS: SignedDuration = SignedDuration::from_hours(1);
/// The user name that goes with it. What counts is the secret.
const PUSH_USERNAME: &str = "alcove";
/// The id of the server's own registry, which has no row.
const OWN_REGISTRY_ID: &str = "transient";

/// A registry that is to be added.
#[derive(Debug, Clone)]
pub struct CreateRegistry {
    pub request: RegistryRequest,
    /// None is one of the organization, the only kind that people can add.
    pub kind: Option<RegistryKind>,
    pub is_default: bool,
}

/// What to log in to a registry with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// With its port.
    pub host: String,
    /// Whether it is to be asked without TLS.
    pub is_plain: bool,
    /// Both empty for a registry that asks for none.
    pub username: String,
    pub password: Secret,
}

/// Leave to push to the server's own registry for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryPushAccess {
    pub registry_id: String,
    pub username: String,
    pub secret: Secret,
    /// The first part of all repositories that it is good for.
    pub project: String,
    pub expires_at: Timestamp,
}

/// Who came into the server's own registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryVisitor {
    pub organization: OrganizationId,
    /// How much longer the secret is good.
    pub seconds_left: u64,
}

impl Shared {
    pub async fn list_registries(&self, org: &OrganizationId) -> Result<Vec<Registry>, Error> {
        let found = self.store.reader().registry_list(org).await;
        let sealed = found.map_err(|error| Error::store("listing registries", error))?;
        Ok(sealed.into_iter().map(|sealed| sealed.registry).collect())
    }

    pub async fn get_registry(&self, caller: &Caller, id: &str) -> Result<Registry, Error> {
        Ok(self.find_registry(caller, id).await?.registry)
    }

    async fn find_registry(&self, caller: &Caller, id: &str) -> Result<SealedRegistry, Error> {
        let key: RegistryId = id.parse().map_err(|_| not_found(id))?;
        let found = self
            .store
            .reader()
            .registry_find(&caller.organization, &key);
        found
            .await
            .map_err(|error| Error::store("looking for a registry", error))?
            .ok_or_else(|| not_found(id))
    }

    pub async fn create_registry(
        &self,
        caller: &Caller,
        create: CreateRegistry,
    ) -> Result<Registry, Error> {
        let failed = |error| Error::store("adding a registry", error);
        caller.require(Permission::WriteRegistries)?;
        let kind = create.kind.unwrap_or(RegistryKind::Organization);
        if kind != RegistryKind::Organization {
            return Err(Error::Forbidden {
                message: format!("Registries of type {} are the server's own", kind.as_str()),
            });
        }
        let request = create.request;
        let url = request.check().map_err(Error::refused)?;
        let now = self.clock.now();
        let registry = Registry {
            id: RegistryId::from_uuid(uuid_v4(&*self.rng)),
            organization_id: caller.organization.clone(),
            name: request.name,
            url,
            username: request.username,
            project: request.project.unwrap_or_default(),
            is_default: create.is_default,
            created_at: now,
            updated_at: now,
        };
        let org = &caller.organization;
        let tx = self.store.begin().await.map_err(failed)?;
        let password = self.seal(&tx, &registry.id, &request.password.unwrap_or_default())?;
        let sealed = SealedRegistry { registry, password };
        if tx.registry_count(org).await.map_err(failed)? >= REGISTRIES_MAX {
            return Err(Error::QuotaExceeded {
                message: format!("Registry quota exceeded. Maximum allowed: {REGISTRIES_MAX}"),
            });
        }
        if create.is_default {
            tx.registry_clear_default(org).await.map_err(failed)?;
        }
        tx.registry_insert(&sealed).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(sealed.registry)
    }

    pub async fn update_registry(
        &self,
        caller: &Caller,
        id: &str,
        request: RegistryRequest,
    ) -> Result<Registry, Error> {
        let failed = |error| Error::store("writing a registry", error);
        caller.require(Permission::WriteRegistries)?;
        let key: RegistryId = id.parse().map_err(|_| not_found(id))?;
        let tx = self.store.begin().await.map_err(failed)?;
        let found = tx.registry_find_any(&key).await.map_err(failed)?;
        let mut sealed = found
            .filter(|sealed| sealed.registry.organization_id == caller.organization)
            .ok_or_else(|| not_found(id))?;
        let url = request.check().map_err(Error::refused)?;
        let registry = &mut sealed.registry;
        registry.name = request.name;
        registry.url = url;
        registry.username = request.username;
        if let Some(project) = request.project {
            registry.project = project;
        }
        registry.updated_at = self.clock.now();
        if let Some(password) = &request.password {
            sealed.password = self.seal(&tx, &registry.id, password)?;
        }
        write_registry(tx, sealed, id).await
    }

    pub async fn delete_registry(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let failed = |error| Error::store("removing a registry", error);
        caller.require(Permission::DeleteRegistries)?;
        let key: RegistryId = id.parse().map_err(|_| not_found(id))?;
        let tx = self.store.begin().await.map_err(failed)?;
        let deleted = tx.registry_delete(&caller.organization, &key).await;
        if !deleted.map_err(failed)? {
            return Err(not_found(id));
        }
        tx.commit().await.map_err(failed)
    }

    /// As the administrator of the server; the registry may be any organization's.
    pub async fn set_default_registry(&self, caller: &Caller, id: &str) -> Result<Registry, Error> {
        if !self.is_admin(caller).await? {
            return Err(Error::access_denied());
        }
        let key: RegistryId = id.parse().map_err(|_| not_found(id))?;
        let failed = |error| Error::store("looking for a registry", error);
        let tx = self.store.begin().await.map_err(failed)?;
        let found = tx.registry_find_any(&key).await.map_err(failed)?;
        let mut sealed = found.ok_or_else(|| not_found(id))?;
        sealed.registry.is_default = true;
        write_registry(tx, sealed, id).await
    }

    /// What an organization logs in with to pull `repository` (without its host) from a host; None if it has
    /// nothing for it.
    pub async fn registry_login(
        &self,
        org: &OrganizationId,
        host: &str,
        repository: &str,
    ) -> Result<Option<RegistryLogin>, Error> {
        let found = self.store.reader().registry_list(org).await;
        let sealed = found.map_err(|error| Error::store("looking for a login", error))?;
        let registries: Vec<Registry> = sealed
            .iter()
            .map(|sealed| sealed.registry.clone())
            .collect();
        let Some(registry) = fitting(&registries, host, repository) else {
            return Ok(None);
        };
        let password = sealed
            .iter()
            .find(|sealed| sealed.registry.id == registry.id)
            .map(|sealed| {
                let (place, id) = (SealedPlace::RegistryPassword, registry.id.as_str());
                self.sealing_key()?
                    .open(place, id, &sealed.password)
                    .map_err(unopened)
            })
            .transpose()?;
        Ok(Some(RegistryLogin {
            host: registry.url.host().to_owned(),
            is_plain: registry.url.is_plain(),
            username: registry.username.clone(),
            password: Secret(password.unwrap_or_default()),
        }))
    }

    /// What to pull an image with, and whether without TLS: the organization's own registry, else the operator's.
    pub async fn pull_login(
        &self,
        org: &OrganizationId,
        reference: &str,
    ) -> Result<(Option<RegistryCredentials>, bool), Error> {
        let host = registry_of(reference);
        let own = self
            .registry_login(org, host, repository_of(reference))
            .await?;
        let is_plain = own.as_ref().is_some_and(|login| login.is_plain);
        let own = own.filter(|login| !login.username.is_empty());
        let credentials = match own {
            Some(login) => Some(RegistryCredentials {
                username: login.username,
                password: login.password.0,
            }),
            None => self.settings.credentials.find(org, host).await?,
        };
        Ok((credentials, is_plain))
    }

    pub(crate) fn sealing_key(&self) -> Result<&SealingKeys, Error> {
        self.settings
            .sealing_key
            .as_ref()
            .ok_or(Error::Unavailable {
                message: "This server keeps no passwords",
                retry_after: None,
                cause: None,
            })
    }

    fn seal(&self, tx: &Tx, id: &RegistryId, password: &Secret) -> Result<Vec<u8>, Error> {
        let (place, id) = (SealedPlace::RegistryPassword, id.as_str());
        self.sealing_key()?
            .seal(tx, &*self.rng, place, id, &password.0)
            .map_err(unopened)
    }

    pub fn registry_push_access(
        &self,
        caller: &Caller,
        region: Option<&str>,
    ) -> Result<RegistryPushAccess, Error> {
        self.region_with_runner(&caller.organization, region)?;
        caller.require_any(&[Permission::WriteSnapshots, Permission::WriteSandboxes])?;
        let expires_at = self.clock.now() + PUSH_ACCESS_LASTS;
        let claims = Claims {
            organization: caller.organization.clone(),
            expires_at,
            mark: uuid_v4(&*self.rng).simple().to_string(),
        };
        Ok(RegistryPushAccess {
            registry_id: OWN_REGISTRY_ID.to_owned(),
            username: PUSH_USERNAME.to_owned(),
            secret: Secret(self.secrets.registry.sign(&claims)),
            project: caller.organization.to_string(),
            expires_at,
        })
    }

    /// Whose a secret of [`Shared::registry_push_access`] is, while it is good.
    pub fn registry_visitor(&self, secret: &str) -> Option<RegistryVisitor> {
        let now = self.clock.now();
        let claims = self.secrets.registry.verify(secret, now)?;
        let left = claims.expires_at.as_second() - now.as_second();
        Some(RegistryVisitor {
            organization: claims.organization,
            seconds_left: u64::try_from(left).unwrap_or(0),
        })
    }
}

async fn write_registry(tx: Tx, sealed: SealedRegistry, id: &str) -> Result<Registry, Error> {
    let failed = |error| Error::store("writing a registry", error);
    if sealed.registry.is_default {
        let org = &sealed.registry.organization_id;
        tx.registry_clear_default(org).await.map_err(failed)?;
    }
    if !tx.registry_update(&sealed).await.map_err(failed)? {
        return Err(not_found(id));
    }
    tx.commit().await.map_err(failed)?;
    Ok(sealed.registry)
}

fn unopened(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal {
        doing: "opening the password of a registry",
        cause: Some(Box::new(error)),
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Docker registry with ID {id} not found"),
    }
}
