//! One row of `commands`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    /// One open order a sandbox: a newer one takes the row over.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sandbox_id: String,
    pub generation: i64,
    pub goal: String,
    pub force: bool,
    pub attempt: i64,
    /// The control process that works on it.
    pub owner: String,
    pub lease_until: i64,
    pub created_at: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
