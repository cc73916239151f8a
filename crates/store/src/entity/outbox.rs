//! One row of `outbox`.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub sequence: i64,
    pub organization_id: String,
    pub kind: String,
    pub old_value: Option<String>,
    pub new_value: Option<String>,
    /// The row of the sandbox, snapshot or volume right after the event, as JSON.
    pub payload: String,
    pub created_at: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
