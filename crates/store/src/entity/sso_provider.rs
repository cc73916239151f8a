//! One row of `sso_providers`: an identity provider of an organization.

use sea_orm::entity::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sso_providers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub organization_id: String,
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    /// Sealed, as hex.
    pub client_secret: String,
    pub scope: Option<String>,
    /// As JSON.
    pub domains: String,
    pub allows_any_domain: bool,
    pub trusts_addresses: bool,
    /// Ids, as JSON.
    pub roles: String,
    pub is_enabled: bool,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
