//! SSH access to sandboxes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// A token that opens SSH sessions in one sandbox until a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshAccess {
    pub id: String,
    pub sandbox_id: String,
    /// Goes in place of the user name, or of the password. Shown this once.
    pub token: String,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// A command line that opens a session.
    #[schema(example = "ssh -p 2222 TOKEN@host")]
    pub ssh_command: String,
}

/// Whether a token opens sessions now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshAccessValidation {
    pub valid: bool,
    /// Empty for a token that opens none.
    pub sandbox_id: String,
}

/// A public key of the caller's, which opens SSH sessions in the sandboxes of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshKey {
    pub id: String,
    pub name: String,
    /// A line as OpenSSH writes it, without the comment.
    #[schema(example = "ssh-ed25519 AAAA…")]
    pub public_key: String,
    /// As `ssh-keygen -l` writes it.
    #[schema(example = "SHA256:AAAA…")]
    pub fingerprint: String,
    pub created_at: Timestamp,
}

/// A public key that is to open SSH sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSshKey {
    /// A line as in a file `.pub` of OpenSSH.
    pub public_key: String,
    /// Without one, what stands beside the key, else its fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl FromBody for CreateSshKey {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            public_key: fields.required("publicKey", "a string"),
            name: fields.text("name"),
        }
    }
}
