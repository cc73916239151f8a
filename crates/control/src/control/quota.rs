//! Limits of organizations: what counts against them, and what the administrator of the server makes of them.

use alcove_domain::{OrganizationId, Quota, SandboxClass};

use super::Control;
use crate::{Caller, Error, OwnQuota, QuotaUse, sandboxes};

impl Control {
    /// Limits of the caller's organization and what counts against them, by region and class.
    pub async fn quota_use(&self, caller: &Caller) -> Result<Vec<QuotaUse>, Error> {
        self.shared.quota_use(&caller.organization).await
    }

    /// The limits of the organization that a sandbox counts for, in its region and for its class.
    pub async fn quota_of_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<OwnQuota, Error> {
        let entry = sandboxes::find(&self.shared, caller, id_or_name)?;
        let sandbox = entry.sandbox();
        let uses = self.shared.quota_use(&sandbox.organization_id).await?;
        let found = uses
            .into_iter()
            .find(|found| found.region == sandbox.region && found.class == sandbox.class);
        Ok(OwnQuota {
            organization: sandbox.organization_id.clone(),
            region: sandbox.region.clone(),
            class: sandbox.class,
            quota: found.map_or(self.shared.settings.default_quota, |found| found.quota),
        })
    }

    /// Changes the limits of an organization for sandboxes of a class in a region (id or name), as the
    /// administrator of the server. `change` gets those that hold now.
    pub async fn set_quota(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        region: &str,
        class: SandboxClass,
        change: impl FnOnce(&mut Quota) + Send,
    ) -> Result<Quota, Error> {
        self.shared
            .set_quota(caller, organization, region, class, change)
            .await
    }

    /// Gives an organization limits of its own for sandboxes of a class in a region (id or name). `change` gets those
    /// that hold for all others.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it has some already.
    pub async fn create_quota(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        region: &str,
        class: SandboxClass,
        change: impl FnOnce(&mut Quota) + Send,
    ) -> Result<OwnQuota, Error> {
        self.shared
            .create_quota(caller, organization, region, class, change)
            .await
    }

    /// An organization's own limits.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has none.
    pub async fn get_quota(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        region: &str,
        class: SandboxClass,
    ) -> Result<OwnQuota, Error> {
        self.shared
            .get_quota(caller, organization, region, class)
            .await
    }

    /// Takes an organization's own limits away, so that those of all others hold.
    pub async fn delete_quota(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        region: &str,
        class: SandboxClass,
    ) -> Result<(), Error> {
        self.shared
            .delete_quota(caller, organization, region, class)
            .await
    }
}
