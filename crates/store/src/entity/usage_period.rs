//! One row of `usage_periods`: what one sandbox counted from one moment to another. One that goes on has no end.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_periods")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub sandbox_id: String,
    pub organization_id: String,
    pub region: String,
    pub class: String,
    pub cpu_cores: i64,
    pub memory_gib: i64,
    pub disk_gib: i64,
    pub gpu: i64,
    pub started_at: i64,
    pub ended_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
