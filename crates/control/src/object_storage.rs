//! Who may put build contexts into the object storage.
//!
//! Credentials are three texts, as S3 has them. The access key and the session token say themselves what they are;
//! the secret follows from the access key. So nothing is kept of them, and they outlive a restart.

use alcove_domain::{OrganizationId, Permission, Secret};
use jiff::{SignedDuration, Timestamp};

use crate::shared::Shared;
use crate::token::Claims;
use crate::{Caller, Error};

/// How long credentials are good.
const ACCESS_LASTS: SignedDuration = SignedDuration::from_hours(1);
/// What access keys begin with.
const KEY_PREFIX: &str = "ALC";
/// Random bytes in an access key.
const KEY_BYTES: usize = 16;

/// Leave to put objects below the organization's name for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStorageAccess {
    pub organization: OrganizationId,
    pub access_key: String,
    pub secret: Secret,
    pub session_token: Secret,
    pub expires_at: Timestamp,
}

impl Shared {
    pub fn object_storage_access(&self, caller: &Caller) -> Result<ObjectStorageAccess, Error> {
        caller.require_any(&[Permission::WriteSnapshots, Permission::WriteSandboxes])?;
        let mut random = [0; KEY_BYTES];
        self.rng.fill(&mut random);
        let access_key = format!("{KEY_PREFIX}{}", hex::encode_upper(random));
        let expires_at = self.clock.now() + ACCESS_LASTS;
        let claims = Claims {
            organization: caller.organization.clone(),
            expires_at,
            mark: access_key.clone(),
        };
        let key = &self.secrets.object_storage;
        Ok(ObjectStorageAccess {
            organization: claims.organization.clone(),
            secret: Secret(key.derive(&access_key)),
            session_token: Secret(key.sign(&claims)),
            access_key,
            expires_at,
        })
    }

    /// The secret that goes with an access key. Any text has one; whether the key is ours, its session token tells.
    pub fn object_storage_secret(&self, access_key: &str) -> Secret {
        Secret(self.secrets.object_storage.derive(access_key))
    }

    /// Whose objects a session token opens for an access key, while it is good.
    pub fn object_storage_visitor(
        &self,
        access_key: &str,
        session_token: &str,
    ) -> Option<OrganizationId> {
        let key = &self.secrets.object_storage;
        let claims = key.verify(session_token, self.clock.now())?;
        (claims.mark == access_key).then_some(claims.organization)
    }
}
