//! Limits of requests, from the one door.

use std::sync::Arc;

use alcove_domain::rate_limit::{Limiter, OwnRateLimits, RateLimit, Standing, Window};
use alcove_domain::{OrganizationId, Reason};
use jiff::Timestamp;

use super::Control;
use super::organization::organization_not_found;
use crate::shared::Shared;
use crate::{Caller, Counted, Error};

/// Reads what organizations have of their own, once, at the start.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let all = shared.store.reader().own_rate_limit_list().await;
    for (organization, limits) in all.map_err(|error| Error::store("reading limits", error))? {
        shared.own_rate_limits.note(organization, limits);
    }
    Ok(())
}

impl Control {
    /// Counts a request. None where there is no such limit.
    pub fn count_request(&self, limiter: Limiter, who: &Counted) -> Option<Standing> {
        self.look_at_window(limiter, who, Window::hit)
    }

    /// How somebody stands with a limit, without a request.
    pub fn rate_standing(&self, limiter: Limiter, who: &Counted) -> Option<Standing> {
        self.look_at_window(limiter, who, |window, limit, now| {
            window.standing(limit, now)
        })
    }

    /// Whether anybody's requests are limited.
    pub fn limits_requests(&self) -> bool {
        let shared = &self.shared;
        !shared.settings.rate_limits.is_empty() || shared.own_rate_limits.has_any()
    }

    /// What an organization has of its own.
    pub fn own_rate_limits(&self, organization: &OrganizationId) -> OwnRateLimits {
        self.shared.own_rate_limits.of(organization)
    }

    /// Changes what an organization has of its own, as the administrator of the server. It holds from the next request on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit of none, and for half of one where the operator has none.
    pub async fn set_rate_limits(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        change: impl FnOnce(&mut OwnRateLimits) + Send + 'static,
    ) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let organization = organization.clone();
        shared
            .check_organization_rights(caller, &organization)
            .await?;
        let failed = |error| Error::store("setting limits of requests", error);
        let task = async move {
            let _writing = shared.own_rate_limits.writing.lock().await;
            let tx = shared.store.begin().await.map_err(failed)?;
            let found = tx.own_rate_limit_get(&organization).await;
            let mut limits = found
                .map_err(failed)?
                .ok_or_else(|| organization_not_found(organization.as_str()))?;
            change(&mut limits);
            let server = |limiter| shared.settings.rate_limits.get(&limiter).copied();
            let all = Limiter::OF_ORGANIZATIONS.into_iter().zip(limits);
            let useless = all.filter(|(limiter, own)| own.is_useless(server(*limiter)));
            let reasons = useless.map(|(limiter, _)| {
                Reason::invalid(format!(
                    "The limit {} needs a count and seconds, and neither may be 0",
                    limiter.as_str()
                ))
            });
            Error::check(reasons.collect())?;
            tx.own_rate_limit_put(&organization, &limits)
                .await
                .map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            shared.own_rate_limits.note(organization, limits);
            Ok(())
        };
        // A caller that goes away must not leave a limit that nobody heeds.
        self.shared.finish("setting limits of requests", task).await
    }

    fn look_at_window(
        &self,
        limiter: Limiter,
        who: &Counted,
        look: impl FnOnce(&mut Window, RateLimit, Timestamp) -> Standing,
    ) -> Option<Standing> {
        let shared = &self.shared;
        let server = shared.settings.rate_limits.get(&limiter).copied();
        let limit = shared.own_rate_limits.over(limiter, who, server)?;
        let now = shared.clock.now();
        shared.rate_counters.look(limiter, limit, who, now, look)
    }
}
