//! Programs that serve the platform, from the one door.

use alcove_domain::{SandboxId, ServiceRole};

use super::{Control, Statistics};
use crate::services::{self, CreatedServiceCredential, ServiceCredentialView};
use crate::{Caller, Error, reconcile, ssh};

impl Control {
    /// Whether a bearer says that it is the credential of a program, known or not.
    pub fn is_service_text(text: &str) -> bool {
        ServiceRole::of_text(text).is_some()
    }

    /// # Errors
    /// [`Error::Unauthenticated`] for anything but a credential that is good now.
    pub fn authenticate_service(&self, text: &str) -> Result<ServiceRole, Error> {
        services::authenticate(&self.shared, text)
    }

    /// The credentials that are good, by role and the newest first, as the administrator of the server.
    pub async fn list_service_credentials(
        &self,
        caller: &Caller,
    ) -> Result<Vec<ServiceCredentialView>, Error> {
        services::list(&self.shared, caller).await
    }

    /// Makes a credential of a role, as the administrator of the server. The newest one before is good for so many seconds
    /// more, a day where nothing is said; all others of the role end at once.
    pub async fn create_service_credential(
        &self,
        caller: &Caller,
        role: &str,
        overlap_seconds: Option<i64>,
    ) -> Result<CreatedServiceCredential, Error> {
        services::create(&self.shared, caller, role, overlap_seconds).await
    }

    /// Ends a credential at once, as the administrator of the server.
    pub async fn delete_service_credential(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        services::delete(&self.shared, caller, id).await
    }

    /// Numbers about the whole server, for a program that looks whether it works.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another role.
    pub async fn statistics_as_probe(&self, role: ServiceRole) -> Result<Statistics, Error> {
        require(role, &[ServiceRole::HealthCheck])?;
        Ok(self.statistics().await)
    }

    /// The sandbox of whichever organization that a token for SSH opens now, for the gateway.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another role.
    pub async fn validate_ssh_access_as_gateway(
        &self,
        role: ServiceRole,
        token: &str,
    ) -> Result<Option<SandboxId>, Error> {
        require(role, &[ServiceRole::SshGateway])?;
        ssh::validate(&self.shared, None, token).await
    }

    /// `POST …/last-activity` of a program that leads people into sandboxes. Written down before it returns.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another role, [`Error::NotFound`] if there is no sandbox of that id.
    pub async fn update_last_activity_as_service(
        &self,
        role: ServiceRole,
        id: &str,
    ) -> Result<(), Error> {
        require(role, &[ServiceRole::Proxy, ServiceRole::SshGateway])?;
        let found = id
            .parse()
            .ok()
            .and_then(|id| self.shared.directory.get(&id));
        let entry = found.filter(|entry| entry.sandbox().is_visible());
        let entry = entry.ok_or_else(|| Error::NotFound {
            message: format!("Sandbox with ID {id} not found"),
        })?;
        entry.note_activity(self.shared.clock.now());
        reconcile::flush_activity(&self.shared).await
    }
}

/// # Errors
/// [`Error::Forbidden`] unless the role is one of these.
pub(super) fn require(role: ServiceRole, roles: &[ServiceRole]) -> Result<(), Error> {
    if roles.contains(&role) {
        Ok(())
    } else {
        Err(Error::access_denied())
    }
}
