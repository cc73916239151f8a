//! Credentials of programs that serve the platform, as the administrator of the server handles them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// A credential to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateServiceCredential {
    /// `ssh-gateway`, `proxy`, `otel-collector` or `health-check`.
    pub role: String,
    /// Seconds that the newest one before is good for still: 0 to 2,592,000, and 86,400 when absent. All others of the role end
    /// at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_ends_in_seconds: Option<i64>,
}

impl FromBody for CreateServiceCredential {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            role: fields.required("role", "a string"),
            previous_ends_in_seconds: fields.integer("previousEndsInSeconds"),
        }
    }
}

/// A credential as it may be shown: never the whole value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCredential {
    pub id: String,
    pub role: String,
    /// What it begins with, asterisks, last three characters.
    pub value: String,
    pub created_at: Timestamp,
    /// From when on it is good no more. Null for the newest of its role.
    #[schema(required = true)]
    pub ends_at: Option<Timestamp>,
    /// Null where it was not used since the server was started.
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
}

/// A credential that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedServiceCredential {
    pub id: String,
    pub role: String,
    /// The whole credential. Shown this once; the server keeps only its hash.
    pub value: String,
    pub created_at: Timestamp,
}
