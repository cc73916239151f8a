//! One row of `warm_pools`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "warm_pools")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub organization_id: String,
    /// Its name.
    pub snapshot: String,
    pub region: String,
    pub size: i64,
    pub cpu_cores: i64,
    pub memory_gib: i64,
    pub disk_gib: i64,
    pub gpu: i64,
    pub os_user: String,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
