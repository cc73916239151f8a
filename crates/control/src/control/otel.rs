//! What organizations say of themselves, and where their telemetry is sent, from the one door.

use std::sync::Arc;

use alcove_domain::{OrganizationId, OtelRequest, OtelTarget, Reason, SandboxId, ServiceRole};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Control;
use super::organization::organization_not_found;
use super::service::require;
use crate::otel::{self, OrganizationSettings};
use crate::{Caller, Error};

impl Control {
    /// What an organization says of itself.
    pub fn organization_settings(&self, org: &OrganizationId) -> Arc<OrganizationSettings> {
        self.shared.known_settings.get(org)
    }

    /// Where the telemetry of the caller's organization is sent, as its owner may see it: what is in the headers is not shown.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is sent nowhere.
    pub fn otel_target(&self, caller: &Caller, id: &str) -> Result<OtelTarget, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        Ok(otel::target(&self.shared, &caller.organization)?.masked())
    }

    /// The same of any organization for the collector, which is told what is in the headers.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another role, [`Error::NotFound`] where it is sent nowhere.
    pub fn otel_target_as_collector(
        &self,
        role: ServiceRole,
        id: &str,
    ) -> Result<(OrganizationId, OtelTarget), Error> {
        require(role, &[ServiceRole::OtelCollector])?;
        let org: OrganizationId = id.parse().map_err(|_| organization_not_found(id))?;
        let target = otel::target(&self.shared, &org)?;
        Ok((org, target))
    }

    /// The same for whoever has the token of one of its sandboxes.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another role, [`Error::NotFound`] for a token of no sandbox, and where it is sent nowhere.
    pub fn otel_target_of_token(
        &self,
        role: ServiceRole,
        token: &str,
    ) -> Result<(OrganizationId, OtelTarget), Error> {
        let (_, org) = self.sandbox_of_token(role, token)?;
        let target = otel::target(&self.shared, &org)?;
        Ok((org, target))
    }

    /// The sandbox that a token is of, for the collector.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another role, [`Error::NotFound`] for a token of no sandbox.
    pub fn sandbox_of_token(
        &self,
        role: ServiceRole,
        token: &str,
    ) -> Result<(SandboxId, OrganizationId), Error> {
        require(role, &[ServiceRole::OtelCollector])?;
        otel::of_token(&self.shared, token)
    }

    /// Has the telemetry of the caller's organization sent to an endpoint, as its owner, in place of the one before.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] where this server keeps none, or cannot seal the headers.
    pub async fn put_otel_target(
        &self,
        caller: &Caller,
        id: &str,
        request: OtelRequest,
    ) -> Result<(), Error> {
        let org = self.owned(caller, id)?;
        otel::put_target(&self.shared, org, request).await
    }

    /// Has the telemetry of the caller's organization sent nowhere, as its owner.
    pub async fn delete_otel_target(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let org = self.owned(caller, id)?;
        otel::delete_target(&self.shared, org).await
    }

    /// Writes the free settings of the caller's organization, as its owner, in place of those before. Nothing here heeds them.
    pub async fn put_experimental_config(
        &self,
        caller: &Caller,
        id: &str,
        config: Map<String, Value>,
    ) -> Result<(), Error> {
        let org = self.owned(caller, id)?;
        otel::put_experimental(&self.shared, org, config).await
    }

    /// When it was looked which processors for graphics are free. There are none.
    pub fn gpu_capacity(&self, caller: &Caller, id: &str) -> Result<Timestamp, Error> {
        self.enter(caller, id)?;
        Ok(self.shared.clock.now())
    }

    /// Says how long creates of the caller's organization wait for a runner, as its owner.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] for any time: no create waits.
    pub fn set_default_queue_timeout(
        &self,
        caller: &Caller,
        id: &str,
        minutes: Option<i64>,
    ) -> Result<(), Error> {
        self.owned(caller, id)?;
        let Some(minutes) = minutes else {
            return Ok(());
        };
        let reason = if minutes < 0 {
            Reason::invalid("defaultQueueTimeout must not be negative")
        } else {
            Reason::unsupported(
                "defaultQueueTimeout is not supported by this server: creates do not wait in a queue",
            )
        };
        Err(Error::refused(vec![reason]))
    }

    fn owned(&self, caller: &Caller, id: &str) -> Result<OrganizationId, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        Ok(caller.organization.clone())
    }
}
