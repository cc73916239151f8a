//! One row of `sandbox_volumes`: a sandbox that mounts a volume. It repeats what the sandbox's row says, for searching.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sandbox_volumes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub volume_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub sandbox_id: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
