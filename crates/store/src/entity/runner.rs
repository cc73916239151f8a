//! One row of `runners`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "runners")]
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub region: String,
    /// Of the region. NULL where that is the server's own.
    pub organization_id: Option<String>,
    pub name: String,
    pub is_built_in: bool,
    /// SHA-256 as hex.
    pub key_hash: Option<String>,
    /// JSON list.
    pub tags: String,
    pub domain: Option<String>,
    pub api_url: Option<String>,
    pub proxy_url: Option<String>,
    pub is_unschedulable: bool,
    pub is_draining: bool,
    pub is_decommissioned: bool,
    pub cpu_millis: i64,
    pub memory_mib: i64,
    pub disk_mib: i64,
    pub gpu: i64,
    pub gpu_type: Option<String>,
    /// NULL, as the next, until the runner has said what it can do.
    pub architecture: Option<String>,
    /// JSON list of words.
    pub capabilities: Option<String>,
    pub app_version: Option<String>,
    pub fault: Option<String>,
    /// The data folder that joined with its key.
    pub instance: Option<String>,
    pub heard_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
