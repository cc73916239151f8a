//! One row of `usage_entries`: what one sandbox counts. One that counts nothing has none.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub sandbox_id: String,
    pub organization_id: String,
    pub region: String,
    pub class: String,
    pub sandboxes: i64,
    pub cpu_cores: i64,
    pub memory_gib: i64,
    pub disk_gib: i64,
    pub gpu: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
