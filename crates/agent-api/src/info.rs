//! Facts about the agent and its sandbox.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub version: String,
}

/// Answer of the calls that name a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dir {
    pub dir: String,
}

/// Body of `POST /init`.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct InitRequest {
    #[serde(default)]
    pub token: String,
}

impl std::fmt::Debug for InitRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitRequest").finish_non_exhaustive()
    }
}

/// Answer of `POST /init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InitResponse {
    pub message: String,
}
