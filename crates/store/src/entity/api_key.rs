//! One row of `api_keys`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// SHA-256 as hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
    pub organization_id: String,
    pub user_id: String,
    pub name: String,
    pub prefix: String,
    pub suffix: String,
    /// JSON list.
    pub permissions: String,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
