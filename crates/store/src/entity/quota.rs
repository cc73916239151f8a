//! One row of `quotas`: the limits of an organization in one region and class.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "quotas")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub class: String,
    pub total_sandboxes: Option<i64>,
    pub total_cpu_cores: Option<i64>,
    pub total_memory_gib: Option<i64>,
    pub total_disk_gib: Option<i64>,
    pub total_gpu: Option<i64>,
    pub sandbox_cpu_cores: Option<i64>,
    pub sandbox_memory_gib: Option<i64>,
    pub sandbox_disk_gib: Option<i64>,
    pub sandbox_lasting_disk_gib: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
