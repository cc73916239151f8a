//! Who is asking, once authenticated.

use std::sync::Arc;

use alcove_domain::{
    ApiKeyHash, AuditKey, MemberRole, OrganizationId, Permission, Permissions, SessionHash, UserId,
};

use jiff::Timestamp;

use crate::Error;

/// An authenticated caller, bound to one organization.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: UserId,
    pub organization: OrganizationId,
    /// What the user is in the organization.
    pub role: MemberRole,
    /// What both the credential and the user's place in the organization allow.
    pub permissions: Arc<Permissions>,
    /// Whether the credential stands for all of its user: a token and a session do, and a key that was made with every
    /// permission. A session that the provider of an organization began does not, whatever the user may there.
    pub is_whole_user: bool,
    pub came_with: CameWith,
    pub actor: Arc<Actor>,
}

/// What is told of whoever asks, where it is written down what was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    pub email: String,
    /// The key that the user came with.
    pub key: Option<AuditKey>,
}

/// What a caller has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameWith {
    /// An API key.
    Key(ApiKeyHash),
    /// The session of somebody who signed in.
    Session(SessionHash),
    /// A token of the identity provider.
    Token {
        /// When it is good no more.
        ends_at: Timestamp,
    },
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
    /// [`Error::Forbidden`] unless the caller owns the organization, with a credential that stands for all of the user. What owners
    /// decide is not among the permissions, so a key with some of them has no part in it.
    pub fn require_owner(&self) -> Result<(), Error> {
        self.require_user()?;
        match self.role {
            MemberRole::Owner => Ok(()),
            MemberRole::Member => Err(Error::access_denied()),
        }
    }

    /// # Errors
    /// [`Error::Forbidden`] if the credential does not stand for all of the user: what belongs to the person is not for it.
    pub fn require_user(&self) -> Result<(), Error> {
        if self.is_whole_user {
            Ok(())
        } else {
            Err(Error::access_denied())
        }
    }

    /// # Errors
    /// [`Error::Forbidden`] unless a person is there, or the credential stands for all of its user, whose keys are the user's own
    /// affair, or is allowed to manage keys.
    pub fn require_keys(&self) -> Result<(), Error> {
        if let CameWith::Session(_) = self.came_with {
            return Ok(());
        }
        self.require_user()
            .or_else(|_| self.require(Permission::ManageApiKeys))
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
