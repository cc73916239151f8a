//! Warm pools: sandboxes that are made ahead of need.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// A warm pool. The fields that are null when empty must be there all the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmPool {
    pub id: String,
    pub organization_id: String,
    /// Its name. The pool is of whatever active snapshot has it.
    pub snapshot: String,
    /// Region id.
    pub target: String,
    /// Sandboxes that are to wait; 0 for a pool that is drained.
    pub pool: u32,
    /// Sandboxes that wait.
    pub current_size: u32,
    /// Cores of each.
    pub cpu: u32,
    /// GiB of each.
    pub mem: u32,
    /// GiB of each.
    pub disk: u32,
    /// The user that a create gets which names none.
    pub os_user: String,
    /// Always empty: variables come with the create.
    pub env: BTreeMap<String, String>,
    /// Why there are not as many as there should be.
    #[schema(required = true)]
    pub error_reason: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The body that makes a warm pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreateWarmPool {
    /// Id or name of an active snapshot.
    pub snapshot: String,
    /// Sandboxes that are to wait, 1 or more.
    #[schema(required = true)]
    pub pool: Option<i64>,
    /// Id or name of a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl FromBody for CreateWarmPool {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            snapshot: fields.required("snapshot", "a string"),
            pool: fields.integer("pool"),
            target: fields.text("target"),
        }
    }
}

/// The body that changes a warm pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateWarmPool {
    /// Sandboxes that are to wait; 0 drains the pool.
    #[schema(required = true)]
    pub pool: Option<i64>,
}

impl FromBody for UpdateWarmPool {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            pool: fields.integer("pool"),
        }
    }
}
