//! Regions that organizations make.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0039_regions"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "name"),
            text_option(backend, "proxy_url"),
            text_option(backend, "ssh_gateway_url"),
            text_option(backend, "snapshot_manager_url"),
            text_option(backend, "proxy_key_hash"),
            text_option(backend, "ssh_gateway_key_hash"),
            text_option(backend, "snapshot_manager_username"),
            text_option(backend, "snapshot_manager_password_hash"),
            big("created_at"),
            big("updated_at"),
        ];
        manager.create_table(table("regions", columns)).await?;
        let connection = manager.get_connection();
        connection
            .execute_unprepared(
                "CREATE UNIQUE INDEX regions_by_name ON regions (organization_id, name)",
            )
            .await?;
        Ok(())
    }
}
