//! Files and folders.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One entry of a folder, or one file asked for by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileInfo {
    pub name: String,
    pub is_dir: bool,
    pub size: u64,
    /// Deprecated layout; `modified_at` says the same in RFC 3339.
    pub mod_time: String,
    pub modified_at: String,
    /// Type letters, then nine letters of rights.
    pub mode: String,
    /// The low nine bits, four octal digits.
    pub permissions: String,
    /// Numeric user id, as text.
    pub owner: String,
    /// Numeric group id, as text.
    pub group: String,
    /// Absent for clients that fail on fields they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Answer of the uploads of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadedFile {
    pub name: String,
    pub path: String,
    pub r#type: String,
}

/// One file of a bulk upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrittenFile {
    pub path: String,
    pub bytes: u64,
}

/// Answer of `POST /files/bulk-upload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadOutcome {
    pub files: Vec<WrittenFile>,
    pub errors: Vec<String>,
}

/// Body of `POST /files/bulk-download`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadRequest {
    #[serde(default)]
    pub paths: Vec<String>,
}
