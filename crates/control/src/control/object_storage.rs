//! Object storage, from the one door.

use alcove_domain::{OrganizationId, Secret};

use crate::{Caller, Control, Error, ObjectStorageAccess};

impl Control {
    /// Credentials for an hour, good for what is below the organization's name.
    pub fn object_storage_access(&self, caller: &Caller) -> Result<ObjectStorageAccess, Error> {
        self.shared.object_storage_access(caller)
    }

    /// The secret that goes with an access key.
    pub fn object_storage_secret(&self, access_key: &str) -> Secret {
        self.shared.object_storage_secret(access_key)
    }

    /// Whose objects a session token opens for an access key, while it is good.
    pub fn object_storage_visitor(
        &self,
        access_key: &str,
        session_token: &str,
    ) -> Option<OrganizationId> {
        self.shared
            .object_storage_visitor(access_key, session_token)
    }
}
