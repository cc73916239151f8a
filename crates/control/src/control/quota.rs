//! Limits of organizations: what counts against them, and what the administrator of the server makes of them.

use alcove_domain::{OffsetPage, OrganizationId, Quota, SandboxClass, SandboxId, UsagePeriod};
use alcove_store::UsagePeriods;

use super::Control;
use super::telemetry::TelemetryRange;
use crate::list::Page;
use crate::{Caller, Error, OwnQuota, QuotaUse, sandboxes};

/// Which usage is wanted.
#[derive(Debug, Clone)]
pub struct ListUsage {
    pub range: TelemetryRange,
    /// Of this sandbox only, be it there or not.
    pub sandbox: Option<SandboxId>,
    pub page: Option<i64>,
    pub limit: Option<i64>,
}

impl Control {
    /// Limits of the caller's organization and what counts against them, by region and class.
    pub async fn quota_use(&self, caller: &Caller) -> Result<Vec<QuotaUse>, Error> {
        self.shared.quota_use(&caller.organization).await
    }

    /// What sandboxes of an organization counted against limits over time, those that are gone among them: periods that have a
    /// part in the time from `from` to before `to`, the oldest first.
    pub async fn usage_periods(
        &self,
        caller: &Caller,
        organization: &str,
        list: ListUsage,
    ) -> Result<OffsetPage<UsagePeriod>, Error> {
        let caller = self.enter(caller, organization)?;
        let page = Page::parse(list.page, list.limit)?;
        let (from, to) = list.range.check()?;
        let wanted = UsagePeriods {
            organization: caller.organization.clone(),
            sandbox: list.sandbox,
            from,
            to,
        };
        let reader = self.shared.store.reader();
        let found = reader
            .usage_period_page(&wanted, page.number, page.limit)
            .await;
        found.map_err(|error| Error::store("reading usage over time", error))
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
