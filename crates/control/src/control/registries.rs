//! Registries, from the one door.

use alcove_domain::{OrganizationId, Registry, RegistryRequest};

use crate::{
    Caller, Control, CreateRegistry, Error, RegistryLogin, RegistryPushAccess, RegistryVisitor,
};

impl Control {
    /// Those of the caller's organization, the oldest first.
    pub async fn list_registries(&self, caller: &Caller) -> Result<Vec<Registry>, Error> {
        self.shared.list_registries(&caller.organization).await
    }

    pub async fn get_registry(&self, caller: &Caller, id: &str) -> Result<Registry, Error> {
        self.shared.get_registry(caller, id).await
    }

    pub async fn create_registry(
        &self,
        caller: &Caller,
        create: CreateRegistry,
    ) -> Result<Registry, Error> {
        self.shared.create_registry(caller, create).await
    }

    pub async fn update_registry(
        &self,
        caller: &Caller,
        id: &str,
        request: RegistryRequest,
    ) -> Result<Registry, Error> {
        self.shared.update_registry(caller, id, request).await
    }

    pub async fn delete_registry(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.shared.delete_registry(caller, id).await
    }

    /// Makes it go before the organization's others where several fit an image equally well, as the administrator
    /// of the server.
    pub async fn set_default_registry(&self, caller: &Caller, id: &str) -> Result<Registry, Error> {
        self.shared.set_default_registry(caller, id).await
    }

    /// What an organization logs in with to pull `repository` (without its host) from a host; an empty host is the
    /// public default registry. None if the organization has nothing for it: then it is to be asked without.
    pub async fn registry_login(
        &self,
        organization: &OrganizationId,
        host: &str,
        repository: &str,
    ) -> Result<Option<RegistryLogin>, Error> {
        self.shared
            .registry_login(organization, host, repository)
            .await
    }

    /// Leave to push to the server's own registry, for an hour and below the organization's name. `region` is an id
    /// or a name; None is the organization's own.
    pub fn registry_push_access(
        &self,
        caller: &Caller,
        region: Option<&str>,
    ) -> Result<RegistryPushAccess, Error> {
        self.shared.registry_push_access(caller, region)
    }

    /// Whose a secret of [`Control::registry_push_access`] is, while it is good.
    pub fn registry_visitor(&self, secret: &str) -> Option<RegistryVisitor> {
        self.shared.registry_visitor(secret)
    }
}
