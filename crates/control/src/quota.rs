//! Limits as callers see and set them. They are held in the store, in the transaction that would pass them.

use alcove_domain::{OrganizationId, Quota, SandboxClass, Usage};
use alcove_store::QuotaKey;

use crate::sandboxes::resolve_region;
use crate::shared::Shared;
use crate::{Caller, Error};

/// Limits and use of an organization in one region and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUse {
    /// Region id.
    pub region: String,
    pub class: SandboxClass,
    pub quota: Quota,
    pub usage: Usage,
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
        if !self.is_admin(caller).await? {
            return Err(Error::access_denied());
        }
        let known = self.store.reader().organization_find(org).await;
        if known.map_err(failed)?.is_none() {
            return Err(Error::NotFound {
                message: format!("Organization with ID {org} not found"),
            });
        }
        let key = QuotaKey {
            organization: org.clone(),
            region: resolve_region(self, Some(region))?,
            class,
        };
        let tx = self.store.begin().await.map_err(failed)?;
        let own = tx.quota_find(&key).await.map_err(failed)?;
        let mut quota = own.unwrap_or(self.settings.default_quota);
        change(&mut quota);
        tx.quota_put(&key, &quota).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(quota)
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
    if tx.usage_recount().await.map_err(failed)? {
        tx.commit().await.map_err(failed)?;
        // The first start on a database from before the ledger; after that, a defect.
        tracing::warn!("what sandboxes use was not what the ledger said; it is counted anew");
    }
    Ok(())
}
