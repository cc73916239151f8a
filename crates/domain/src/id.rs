//! Ids as types, so that one kind cannot stand where another is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest accepted id, in bytes. Ids become file names and path segments; 64 leaves room for both.
pub const ID_MAX_BYTES: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an id must not be empty")]
    Empty,
    #[error("an id has at most {ID_MAX_BYTES} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error("an id starts with a letter or digit and holds only letters, digits, '-', '_' and '.'")]
    BadCharacter,
}

fn check(text: &str) -> Result<(), IdError> {
    let first = text.bytes().next().ok_or(IdError::Empty)?;
    if text.len() > ID_MAX_BYTES {
        return Err(IdError::TooLong { bytes: text.len() });
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !first.is_ascii_alphanumeric() || !text.bytes().all(is_plain) {
        return Err(IdError::BadCharacter);
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id of a UUID, in its hyphenated lower-case form.
            pub fn from_uuid(uuid: uuid::Uuid) -> Self {
                Self(uuid.hyphenated().to_string())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// One sandbox. New ones are UUIDs (v4); clients of the oldest generation choose their own text.
    SandboxId
);
id_type!(
    /// One snapshot: what sandboxes are made from.
    SnapshotId
);
id_type!(
    /// One volume. Its id is never used again.
    VolumeId
);
id_type!(
    /// One build of an image. Its log is kept under this.
    BuildId
);
id_type!(
    /// One organization: the tenant that owns sandboxes, snapshots and keys.
    OrganizationId
);
id_type!(
    /// One role that members of organizations are given.
    RoleId
);
id_type!(
    /// One invitation into an organization.
    InvitationId
);
id_type!(
    /// One mail, the same however often it is sent.
    MailId
);
id_type!(
    /// One registry.
    RegistryId
);
id_type!(
    /// One secret that an organization keeps.
    VaultSecretId
);
id_type!(
    /// One warm pool that an organization has asked for.
    WarmPoolId
);
id_type!(
    /// One token's access to a sandbox by SSH.
    SshAccessId
);
id_type!(
    /// One public key of a user, for SSH.
    SshKeyId
);
id_type!(
    /// One address that an organization is told at of what happens.
    WebhookEndpointId
);
id_type!(
    /// One message to such addresses, the same however often it is sent.
    WebhookMessageId
);
id_type!(
    /// One credential of a program that serves the platform.
    ServiceCredentialId
);
id_type!(
    /// One identity provider of an organization.
    SsoProviderId
);
id_type!(
    /// One person of such a provider who may be a user already.
    PendingSsoLinkId
);
id_type!(
    /// One user.
    UserId
);
id_type!(
    /// One host that sandboxes run on.
    RunnerId
);
id_type!(
    /// One region that an organization made.
    RegionId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_leave_a_folder_is_refused() {
        for text in ["", ".", "..", "a/b", "../x", "-rf", "a b", "a\0b", "ä"] {
            assert!(text.parse::<SandboxId>().is_err(), "{text:?} was accepted");
        }
        assert!("x".repeat(ID_MAX_BYTES + 1).parse::<SandboxId>().is_err());
    }

    #[test]
    fn a_uuid_and_a_client_chosen_id_are_accepted() {
        for text in ["0f8fad5b-d9cb-469f-a165-70867728950e", "sandbox-1a2b3c4d"] {
            assert_eq!(
                text.parse::<SandboxId>().map(String::from),
                Ok(text.to_owned())
            );
        }
    }
}
