//! Who is asking, once authenticated.

use std::sync::Arc;

use alcove_domain::{ApiKeyHash, OrganizationId, Permission, Permissions, UserId};

use crate::Error;

/// An authenticated caller, bound to one organization.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: UserId,
    pub organization: OrganizationId,
    pub permissions: Arc<Permissions>,
    /// The key that the caller came with.
    pub key: ApiKeyHash,
}

impl Caller {
    /// # Errors
    /// [`Error::Forbidden`] if the caller lacks `permission`.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.permissions.contains(permission) {
            Ok(())
        } else {
            Err(Error::access_denied())
        }
    }

    /// # Errors
    /// [`Error::Forbidden`] if the caller has none of them.
    pub fn require_any(&self, permissions: &[Permission]) -> Result<(), Error> {
        let has = |permission: &Permission| self.permissions.contains(*permission);
        if permissions.iter().any(has) {
            Ok(())
        } else {
            Err(Error::access_denied())
        }
    }
}
