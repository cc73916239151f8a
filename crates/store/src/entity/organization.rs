//! One row of `organizations`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "organizations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub name: String,
    pub created_by: String,
    pub is_personal: bool,
    pub created_at: i64,
    /// None where the operator's number holds.
    pub volume_quota: Option<i64>,
    /// Whether packets of its sandboxes are marked for the host's shaping.
    pub is_egress_limited: bool,
    /// None where it is not suspended.
    pub suspended_at: Option<i64>,
    pub suspension_reason: Option<String>,
    pub suspended_until: Option<i64>,
    pub suspension_grace_hours: Option<i64>,
    /// Since when it is being deleted.
    pub closing_since: Option<i64>,
    /// Limits of requests of its own. None where the operator's hold.
    pub authenticated_count: Option<i64>,
    pub authenticated_seconds: Option<i64>,
    pub create_count: Option<i64>,
    pub create_seconds: Option<i64>,
    pub lifecycle_count: Option<i64>,
    pub lifecycle_seconds: Option<i64>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
