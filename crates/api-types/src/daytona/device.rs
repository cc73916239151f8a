//! The device authorization grant of OAuth 2.0 (RFC 8628). Fields of the standard have the standard's names.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// What a program is told that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceAuthorization {
    /// The program's own, to be shown to nobody.
    pub device_code: String,
    /// What its user types in.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: String,
    /// Seconds.
    pub expires_in: u64,
    /// Seconds between two requests for the key.
    pub interval: u64,
}

/// The key of a program that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceToken {
    /// An API key. Shown this once.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// By which the key is listed and ended. Ours.
    pub key_name: String,
    /// What the key is for. Ours.
    pub organization_id: String,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceRefusalBody {
    /// A word of RFC 8628 or RFC 6749.
    pub error: String,
    pub error_description: String,
}

/// A program that waits to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingDevice {
    /// What it calls itself.
    pub client_id: String,
    /// What it calls the host that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Where it asked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub began_at: Timestamp,
}

/// Whether it is let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecideOnDevice {
    pub user_code: String,
    pub approve: bool,
}

impl FromBody for DecideOnDevice {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            user_code: fields.required("userCode", "a string"),
            approve: fields.required("approve", "a boolean value"),
        }
    }
}
