//! Registries, and leave to push to the server's own one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sandbox::word_enum;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

word_enum! {
    RegistryType {
        Internal = "internal",
        Organization = "organization",
        Transient = "transient",
        Backup = "backup",
    }
}

/// A registry that images are pulled from. Its password is never told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DockerRegistry {
    pub id: String,
    pub name: String,
    pub url: String,
    pub username: String,
    pub project: String,
    pub registry_type: RegistryType,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The body that adds a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateDockerRegistry {
    pub name: String,
    /// `[http://|https://]HOST[:PORT][/PATH]`
    pub url: String,
    pub username: String,
    pub password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Only `organization` is taken. Clients up to 0.108 send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_type: Option<String>,
    /// Goes before the others where several fit an image equally well. Clients up to 0.108 send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
}

impl FromBody for CreateDockerRegistry {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            url: fields.required("url", "a string"),
            username: fields.required("username", "a string"),
            password: fields.required("password", "a string"),
            project: fields.text("project"),
            registry_type: fields.text("registryType"),
            is_default: fields.boolean("isDefault"),
        }
    }
}

/// The body that changes a registry. What is absent of password and project stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateDockerRegistry {
    pub name: String,
    pub url: String,
    pub username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl FromBody for UpdateDockerRegistry {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            url: fields.required("url", "a string"),
            username: fields.required("username", "a string"),
            password: fields.text("password"),
            project: fields.text("project"),
        }
    }
}

/// What a client pushes images to the server's own registry with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegistryPushAccessDto)]
pub struct RegistryPushAccess {
    pub username: String,
    pub secret: String,
    /// Host and port, as the names of images have it.
    pub registry_url: String,
    pub registry_id: String,
    /// The first part of the names of all repositories that may be pushed to.
    pub project: String,
    pub expires_at: Timestamp,
}
