//! Identity providers of organizations, from the one door.

use alcove_domain::{OrganizationId, Permission, Reason, SsoProvider, SsoProviderRequest};

use super::Control;
use crate::oidc::{arrival, pending, sso};
use crate::sign_in::SignedIn;
use crate::{Caller, Error, PendingSsoLinkView, SsoArrival, SsoDeparture};

impl Control {
    /// Whether people are let into an organization by a provider of its own.
    pub fn has_sso(&self, org: &OrganizationId) -> bool {
        self.shared.sso.has(org)
    }

    /// The identity providers of the caller's organization, the oldest first, for whoever may manage sign-ins.
    pub async fn list_identity_providers(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Vec<SsoProvider>, Error> {
        let caller = self.enter(caller, id)?;
        caller.require(Permission::ManageSso)?;
        sso::list(&self.shared, &caller.organization).await
    }

    pub async fn get_identity_provider(
        &self,
        caller: &Caller,
        id: &str,
        provider: &str,
    ) -> Result<SsoProvider, Error> {
        let caller = self.enter(caller, id)?;
        caller.require(Permission::ManageSso)?;
        sso::find(&self.shared, &caller.organization, provider).await
    }

    /// Names a provider whose people are let into the caller's organization, as its owner: who says who comes in decides what its
    /// members may.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] where there are as many as there may be.
    pub async fn create_identity_provider(
        &self,
        caller: &Caller,
        id: &str,
        request: SsoProviderRequest,
    ) -> Result<SsoProvider, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        sso::create(&self.shared, caller, request).await
    }

    /// Changes one, as the owner. Where it lets nobody in any more, or is another issuer, the sessions that it began end.
    pub async fn update_identity_provider(
        &self,
        caller: &Caller,
        id: &str,
        provider: &str,
        request: SsoProviderRequest,
    ) -> Result<SsoProvider, Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        sso::update(&self.shared, caller, provider, request).await
    }

    /// Removes one, as the owner, with the sessions that it began. Its people stay members.
    pub async fn delete_identity_provider(
        &self,
        caller: &Caller,
        id: &str,
        provider: &str,
    ) -> Result<(), Error> {
        let caller = self.enter(caller, id)?;
        caller.require_owner()?;
        sso::delete(&self.shared, caller, provider).await
    }

    /// Asks an issuer who it is, for whoever may manage sign-ins: what it calls itself, or why nobody could come by it.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] while as many are asked as may be at once.
    pub async fn test_identity_provider(
        &self,
        caller: &Caller,
        id: &str,
        issuer: &str,
    ) -> Result<Result<String, String>, Error> {
        let caller = self.enter(caller, id)?;
        caller.require(Permission::ManageSso)?;
        sso::test(&self.shared, issuer).await
    }

    /// Why there is no portal where providers are set up: it is a vendor's, who signs nobody in here.
    pub fn refuse_provider_portal(&self, caller: &Caller, id: &str) -> Error {
        if let Err(error) = self.enter(caller, id).and_then(Caller::require_owner) {
            return error;
        }
        Error::refused(vec![Reason::unsupported(
            "This server has no portal of WorkOS; identity providers are named by POST /api/organizations/{organizationId}/identity-providers",
        )])
    }

    /// Sends a browser to a provider of an organization, from where it comes back to this address.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for one that lets nobody in, [`Error::Unavailable`] while it does not answer.
    pub async fn depart_by_sso(
        &self,
        provider: &str,
        redirect_uri: &str,
    ) -> Result<SsoDeparture, Error> {
        arrival::depart(&self.shared, provider, redirect_uri).await
    }

    /// Begins a session, in the provider's organization alone, for who comes back from it. Who comes for the first time is made a
    /// user and a member.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where the browser was not sent by this server of late, or the provider does not say who it is;
    /// [`Error::Forbidden`] for an address that is not let in, and for who was removed from the organization;
    /// [`Error::TooManyRequests`] after too many failures.
    pub async fn arrive_by_sso(&self, arrival: SsoArrival) -> Result<SignedIn, Error> {
        arrival::arrive(&self.shared, arrival).await
    }

    /// People of organizations' providers who may be the caller's user.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for what does not stand for all of the user.
    pub async fn pending_sso_links(
        &self,
        caller: &Caller,
    ) -> Result<Vec<PendingSsoLinkView>, Error> {
        pending::list(&self.shared, caller).await
    }

    /// Says that one of them is the caller's user, who takes over the membership that the first sign-in has made.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one who does not wait for this user, [`Error::Forbidden`] for an administrator, and for a caller with
    /// a key.
    pub async fn confirm_pending_sso_link(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        pending::confirm(&self.shared, caller, id).await
    }

    /// Says that one of them is somebody else.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one who does not wait for this user, [`Error::Forbidden`] for a caller with a key.
    pub async fn dismiss_pending_sso_link(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        pending::dismiss(&self.shared, caller, id).await
    }
}
