//! One row of `audit_rows`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_rows")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub sequence: i64,
    /// The organization whose log it is; empty for the server's.
    pub log: String,
    pub number: i64,
    pub id: String,
    pub created_at: i64,
    pub actor_id: String,
    pub actor_email: String,
    pub key_name: Option<String>,
    pub key_prefix: Option<String>,
    pub key_suffix: Option<String>,
    pub action: String,
    pub target_type: Option<String>,
    pub target_id: Option<String>,
    pub status: Option<i64>,
    pub error_message: Option<String>,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub source: Option<String>,
    /// A map of texts as JSON.
    pub metadata: String,
    pub previous_hash: String,
    pub hash: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
