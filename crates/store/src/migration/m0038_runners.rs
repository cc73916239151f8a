//! Hosts that sandboxes run on.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text, text_option, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0038_runners"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "region"),
            text_option(backend, "organization_id"),
            text(backend, "name"),
            truth("is_built_in"),
            text_option(backend, "key_hash"),
            text(backend, "tags"),
            text_option(backend, "domain"),
            text_option(backend, "api_url"),
            text_option(backend, "proxy_url"),
            truth("is_unschedulable"),
            truth("is_draining"),
            truth("is_decommissioned"),
            big("cpu_millis"),
            big("memory_mib"),
            big("disk_mib"),
            big("gpu"),
            text_option(backend, "gpu_type"),
            text_option(backend, "app_version"),
            text_option(backend, "fault"),
            big_option("heard_at"),
            big("created_at"),
            big("updated_at"),
        ];
        manager.create_table(table("runners", columns)).await?;
        let connection = manager.get_connection();
        for statement in [
            "CREATE UNIQUE INDEX runners_by_name ON runners (region, name)",
            "CREATE UNIQUE INDEX runners_by_key ON runners (key_hash)",
            // One, at most.
            "CREATE UNIQUE INDEX runners_built_in ON runners (is_built_in) WHERE is_built_in",
        ] {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
