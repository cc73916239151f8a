//! Limits as callers see and set them. They are held in the store, in the transaction that would pass them.

use alcove_domain::{OrganizationId, Quota, Sandbox, SandboxClass, Usage};
use alcove_store::{QuotaKey, StoreError, Tx};

use crate::sandboxes::resolve_region;
use crate::shared::Shared;
use crate::{Caller, Error, Settings};

/// Limits and use of an organization in one region and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUse {
    /// Region id.
    pub region: String,
    pub class: SandboxClass,
    pub quota: Quota,
    pub usage: Usage,
}

/// Limits that an organization has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnQuota {
    pub organization: OrganizationId,
    /// Region id.
    pub region: String,
    pub class: SandboxClass,
    pub quota: Quota,
}

impl OwnQuota {
    fn new(key: QuotaKey, quota: Quota) -> Self {
        Self {
            organization: key.organization,
            region: key.region,
            class: key.class,
            quota,
        }
    }
}

/// Holds what a sandbox came to against the limits of its organization and against what the host may promise, after it was
/// written in this transaction. `before` is the sandbox as it was, None for a new one.
///
/// # Errors
/// [`StoreError::OverQuota`] or [`StoreError::HostIsPromised`]; the caller lets the transaction fall.
pub(crate) async fn hold(
    tx: &Tx,
    settings: &Settings,
    before: Option<&Sandbox>,
    after: &Sandbox,
) -> Result<(), StoreError> {
    tx.quota_hold(before, after, &settings.default_quota)
        .await?;
    tx.host_hold(before, after, &settings.host_bound).await
}

/// Whether a sandbox that is not written yet would be let through by [`hold`], which alone is sure.
///
/// # Errors
/// The same.
pub(crate) async fn fits(shared: &Shared, sandbox: &Sandbox) -> Result<(), StoreError> {
    let reader = shared.store.reader();
    let settings = &shared.settings;
    reader.quota_fits(sandbox, &settings.default_quota).await?;
    reader.host_fits(sandbox, &settings.host_bound).await
}

impl Shared {
    /// Limits and use of the caller's organization: those of this server's region and class, and every other that
    /// has limits of its own.
    pub async fn quota_use(&self, org: &OrganizationId) -> Result<Vec<QuotaUse>, Error> {
        let failed = |error| Error::store("reading quotas", error);
        let reader = self.store.reader();
        let mut quotas = reader.quota_list(org).await.map_err(failed)?;
        let own = QuotaKey {
            organization: org.clone(),
            region: self.settings.region.id.clone(),
            class: SandboxClass::Container,
        };
        if !quotas.iter().any(|(key, _)| *key == own) {
            quotas.push((own, self.settings.default_quota));
        }
        let mut uses = Vec::with_capacity(quotas.len());
        for (key, quota) in quotas {
            let usage = reader.usage_total(&key).await.map_err(failed)?;
            uses.push(QuotaUse {
                region: key.region,
                class: key.class,
                quota,
                usage,
            });
        }
        Ok(uses)
    }

    /// Changes an organization's limits; `change` gets those that hold now. What runs stays, whatever they
    /// become.
    pub async fn set_quota(
        &self,
        caller: &Caller,
        org: &OrganizationId,
        region: &str,
        class: SandboxClass,
        change: impl FnOnce(&mut Quota) + Send,
    ) -> Result<Quota, Error> {
        let failed = |error| Error::store("writing a quota", error);
        self.check_organization_rights(caller, org).await?;
        let key = self.quota_key(org, region, class)?;
        let tx = self.store.begin().await.map_err(failed)?;
        let own = tx.quota_find(&key).await.map_err(failed)?;
        let mut quota = own.unwrap_or(self.settings.default_quota);
        change(&mut quota);
        tx.quota_put(&key, &quota).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(quota)
    }

    /// Gives an organization limits of its own; `change` gets those that hold for all others.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it has some.
    pub async fn create_quota(
        &self,
        caller: &Caller,
        org: &OrganizationId,
        region: &str,
        class: SandboxClass,
        change: impl FnOnce(&mut Quota) + Send,
    ) -> Result<OwnQuota, Error> {
        let failed = |error| Error::store("writing a quota", error);
        self.check_organization_rights(caller, org).await?;
        let key = self.quota_key(org, region, class)?;
        let tx = self.store.begin().await.map_err(failed)?;
        if tx.quota_find(&key).await.map_err(failed)?.is_some() {
            return Err(Error::Conflict {
                message: format!(
                    "Organization {org} has a quota for class {} in region {region} already",
                    class.as_str()
                ),
                code: "QUOTA_EXISTS",
                state: None,
            });
        }
        let mut quota = self.settings.default_quota;
        change(&mut quota);
        tx.quota_put(&key, &quota).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(OwnQuota::new(key, quota))
    }

    /// An organization's own limits.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has none: those of all others hold then.
    pub async fn get_quota(
        &self,
        caller: &Caller,
        org: &OrganizationId,
        region: &str,
        class: SandboxClass,
    ) -> Result<OwnQuota, Error> {
        self.check_organization_rights(caller, org).await?;
        let key = self.quota_key(org, region, class)?;
        let found = self.store.reader().quota_find(&key).await;
        found
            .map_err(|error| Error::store("reading a quota", error))?
            .map(|quota| OwnQuota::new(key, quota))
            .ok_or_else(|| no_quota(org, region, class))
    }

    /// Takes an organization's own limits away, so that those of all others hold. What runs stays.
    pub async fn delete_quota(
        &self,
        caller: &Caller,
        org: &OrganizationId,
        region: &str,
        class: SandboxClass,
    ) -> Result<(), Error> {
        let failed = |error| Error::store("writing a quota", error);
        self.check_organization_rights(caller, org).await?;
        let key = self.quota_key(org, region, class)?;
        let tx = self.store.begin().await.map_err(failed)?;
        if !tx.quota_delete(&key).await.map_err(failed)? {
            return Err(no_quota(org, region, class));
        }
        tx.commit().await.map_err(failed)
    }

    /// Whether the caller is the administrator, and there is such an organization.
    pub async fn check_organization_rights(
        &self,
        caller: &Caller,
        org: &OrganizationId,
    ) -> Result<(), Error> {
        if !self.is_admin(caller).await? {
            return Err(Error::access_denied());
        }
        let known = self.store.reader().organization_find(org).await;
        if known
            .map_err(|error| Error::store("reading an organization", error))?
            .is_none()
        {
            return Err(Error::NotFound {
                message: format!("Organization with ID {org} not found"),
            });
        }
        Ok(())
    }

    fn quota_key(
        &self,
        org: &OrganizationId,
        region: &str,
        class: SandboxClass,
    ) -> Result<QuotaKey, Error> {
        Ok(QuotaKey {
            organization: org.clone(),
            region: resolve_region(self, Some(region))?,
            class,
        })
    }
}

fn no_quota(org: &OrganizationId, region: &str, class: SandboxClass) -> Error {
    Error::NotFound {
        message: format!(
            "Organization {org} has no quota of its own for class {} in region {region}",
            class.as_str()
        ),
    }
}

/// Counts what sandboxes use anew, and mends the ledger where it was off.
pub(crate) async fn recount(shared: &Shared) -> Result<(), Error> {
    let failed = |error| Error::store("counting what sandboxes use", error);
    if shared
        .store
        .reader()
        .usage_is_exact()
        .await
        .map_err(failed)?
    {
        return Ok(());
    }
    let tx = shared.store.begin().await.map_err(failed)?;
    if tx.usage_recount(shared.clock.now()).await.map_err(failed)? {
        tx.commit().await.map_err(failed)?;
        // The first start on a database from before the ledger; after that, a defect.
        tracing::warn!("what sandboxes use was not what the ledger said; it is counted anew");
    }
    Ok(())
}
