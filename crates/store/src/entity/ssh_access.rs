//! One row of `ssh_accesses`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ssh_accesses")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    pub id: String,
    pub sandbox_id: String,
    pub expires_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
    /// What ended it before its time.
    pub ended: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
