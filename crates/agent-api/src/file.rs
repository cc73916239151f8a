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
    /// Absent, like the path, for clients that fail on fields they do not know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub modified_at: String,
    /// Type letters, then nine letters of rights.
    pub mode: String,
    /// The low nine bits, four octal digits.
    pub permissions: String,
    /// Numeric user id, as text.
    pub owner: String,
    /// Numeric group id, as text.
    pub group: String,
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

/// One line of `GET /files/find`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Match {
    /// The path asked for, with the way from there to the file.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// The line without its end; of a very long one a part around the match.
    pub content: String,
}

/// Answer of `GET /files/search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SearchFilesResponse {
    pub files: Vec<String>,
}

/// Body of `POST /files/replace`. All three are required; absent ones are told apart from empty ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplaceRequest {
    #[serde(default)]
    pub files: Option<Vec<String>>,
    /// Literal text, not empty.
    #[serde(default)]
    pub pattern: Option<String>,
    #[serde(default)]
    pub new_value: Option<String>,
}

/// What became of one file of a replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplaceResult {
    pub file: String,
    pub success: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
