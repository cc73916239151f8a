//! What proxies are told of previews.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether browsers are warned before they are shown what a sandbox serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewWarning {
    pub enabled: bool,
}
