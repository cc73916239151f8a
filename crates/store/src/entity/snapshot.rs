//! One row of `snapshots`.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "snapshots")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// None for one of the server's images.
    pub organization_id: Option<String>,
    pub name: String,
    pub image: String,
    pub state: String,
    pub size_bytes: Option<i64>,
    /// JSON list.
    pub entrypoint: String,
    pub os_user: String,
    pub cpu_cores: i64,
    pub memory_gib: i64,
    pub disk_gib: i64,
    pub gpu: i64,
    pub class: String,
    pub error_reason: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_used_at: Option<i64>,
    pub source_sandbox_id: Option<String>,
    /// None where the image comes from no registry.
    pub image_name: Option<String>,
    /// Whether the entrypoint is a caller's and not the image's.
    pub has_own_entrypoint: bool,
    pub deactivated_at: Option<i64>,
    /// None for one that people see.
    pub build_key: Option<String>,
    /// None for one that stays.
    pub expires_at: Option<i64>,
    /// The next three are set where a client of sessions made it, and the first of them not always.
    pub parent_id: Option<String>,
    pub source_session: Option<String>,
    pub project: Option<String>,
    /// Whether every organization sees one of an organization.
    #[serde(default)]
    pub is_shared: bool,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
