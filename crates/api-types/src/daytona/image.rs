//! Snapshots as clients of 0.18 to 0.20 knew them: images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::create_sandbox::CreateBuildInfo;
use super::sandbox::word_enum;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

word_enum! {
    ImageState {
        BuildPending = "build_pending",
        Building = "building",
        Pending = "pending",
        PullingImage = "pulling_image",
        PendingValidation = "pending_validation",
        Validating = "validating",
        Active = "active",
        Error = "error",
        Removing = "removing",
    }
}

/// A snapshot in the words of clients before 0.21.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImageDto)]
pub struct Image {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    pub general: bool,
    pub name: String,
    /// Whether workspaces can be made of it.
    pub enabled: bool,
    pub state: ImageState,
    /// In GiB.
    pub size: Option<f64>,
    pub entrypoint: Option<Vec<String>>,
    pub error_reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaginatedImagesDto)]
pub struct ImagePage {
    pub items: Vec<Image>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// The body that has an image pulled. Its name is where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreateImage {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Only `false` is taken: an image is its organization's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub general: Option<bool>,
}

impl FromBody for CreateImage {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let general = fields.boolean("general");
        if general == Some(true) {
            fields.refuse("general", "is not supported by this server");
        }
        Self {
            name: fields.required("name", "a string"),
            entrypoint: fields.optional("entrypoint", "an array of strings"),
            general,
        }
    }
}

/// The body that has an image built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildImage {
    pub name: String,
    pub build_info: CreateBuildInfo,
}

impl FromBody for BuildImage {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            build_info: fields.required("buildInfo", "an object with the string dockerfileContent"),
        }
    }
}

/// The body that puts an image aside, or takes it up again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ToggleState)]
pub struct ToggleImage {
    pub enabled: bool,
}

impl FromBody for ToggleImage {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            enabled: fields.required("enabled", "a boolean"),
        }
    }
}
