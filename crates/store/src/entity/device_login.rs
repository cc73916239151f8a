//! One row of `device_logins`: a program that waits for a person to let it in.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "device_logins")]
pub struct Model {
    /// SHA-256 as hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub code_hash: String,
    /// HMAC as hex.
    pub user_code_hash: String,
    pub client: String,
    pub device: Option<String>,
    pub address: Option<String>,
    pub began_at: i64,
    pub is_denied: bool,
    /// Who lets it in, and in which organization. Both or none.
    pub approved_by: Option<String>,
    pub approved_in: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
