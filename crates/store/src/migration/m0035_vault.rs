//! Secrets that organizations keep.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0035_vault"
    }
}

const NAMES: &str =
    "CREATE UNIQUE INDEX vault_secrets_name ON vault_secrets (organization_id, name)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let secrets = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "name"),
            text(backend, "description"),
            text(backend, "placeholder"),
            text(backend, "hosts"),
            text(backend, "value"),
            big("created_at"),
            big("updated_at"),
        ];
        manager
            .create_table(table("vault_secrets", secrets))
            .await?;
        manager
            .get_connection()
            .execute_unprepared(NAMES)
            .await
            .map(drop)
    }
}
