//! One row of `sandboxes`.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "sandboxes")]
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub organization_id: String,
    pub name: String,
    /// For prefixes without regard to case.
    pub name_lower: String,
    pub snapshot_id: String,
    pub snapshot: String,
    pub image: String,
    pub class: String,
    pub os_user: String,
    /// JSON map.
    pub env: String,
    /// JSON map; the table of labels repeats it for searching.
    pub labels: String,
    pub is_public: bool,
    pub region: String,
    /// None for the server's own. Events from before have no such column.
    #[serde(default)]
    pub runner_id: Option<String>,
    pub cpu_cores: i64,
    pub memory_gib: i64,
    pub disk_gib: i64,
    pub gpu: i64,
    pub auto_stop_minutes: i64,
    pub auto_archive_minutes: i64,
    pub auto_delete_minutes: Option<i64>,
    pub ttl_minutes: Option<i64>,
    /// When the time to live that was set last is over.
    pub auto_destroy_at: Option<i64>,
    pub state: String,
    pub desired_state: String,
    pub generation: i64,
    pub state_changed_at: i64,
    pub fault_code: Option<String>,
    pub fault_message: Option<String>,
    /// Means something in `error` only.
    pub has_disk: bool,
    /// Follows from the state; kept for searching.
    pub is_recoverable: bool,
    pub agent_version: Option<String>,
    pub auto_pause_minutes: i64,
    /// JSON: what the state is about, in those that are about something.
    pub work: Option<String>,
    pub parent_id: Option<String>,
    /// Events from before links have no such column.
    #[serde(default)]
    pub linked_sandbox_id: Option<String>,
    /// JSON list; empty leaves it to the image. Events from before have no such column.
    #[serde(default = "no_entrypoint")]
    pub entrypoint: String,
    /// JSON list of mounts; None for none. Events from before volumes have no such column.
    #[serde(default)]
    pub volumes: Option<String>,
    /// Events from before sandboxes had images built for them have no such column.
    #[serde(default)]
    pub is_built: bool,
    /// Events from before policies have none of the columns of the network.
    #[serde(default)]
    pub network_block_all: bool,
    /// Comma-separated networks; None for none.
    #[serde(default)]
    pub network_allow_list: Option<String>,
    /// Comma-separated names; None for none.
    #[serde(default)]
    pub domain_allow_list: Option<String>,
    #[serde(default = "first_network_version")]
    pub network_version: i64,
    /// The version that the runner last said was in force.
    #[serde(default)]
    pub network_applied: Option<i64>,
    /// Sealed, in hex. Events from before sandboxes had proxies of their own have no such column.
    #[serde(default)]
    pub outbound_proxy: Option<String>,
    /// When this run is to end. Events from before sessions have no such column.
    #[serde(default)]
    pub stop_at: Option<i64>,
    /// Whether it has not yet what its create promises. Events from before have no such column.
    #[serde(default)]
    pub is_unfinished: bool,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_activity_at: i64,
    pub version: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn no_entrypoint() -> String {
    "[]".to_owned()
}

fn first_network_version() -> i64 {
    1
}
