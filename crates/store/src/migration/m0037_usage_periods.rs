//! What sandboxes counted over time. Those that are there count from their last change on.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0037_usage_periods"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            big("id").auto_increment().primary_key().take(),
            text(backend, "sandbox_id"),
            text(backend, "organization_id"),
            text(backend, "region"),
            text(backend, "class"),
            big("cpu_cores"),
            big("memory_gib"),
            big("disk_gib"),
            big("gpu"),
            big("started_at"),
            big_option("ended_at"),
        ];
        manager
            .create_table(table("usage_periods", columns))
            .await?;
        let connection = manager.get_connection();
        for statement in [
            // One that goes on, at most, for each sandbox.
            "CREATE UNIQUE INDEX usage_periods_open ON usage_periods (sandbox_id) WHERE ended_at IS NULL",
            "CREATE INDEX usage_periods_by_organization ON usage_periods (organization_id, started_at, id)",
            "CREATE INDEX usage_periods_by_sandbox ON usage_periods (sandbox_id, started_at)",
            "CREATE INDEX usage_periods_by_end ON usage_periods (ended_at)",
            "INSERT INTO usage_periods (sandbox_id, organization_id, region, class, cpu_cores, memory_gib, disk_gib, \
             gpu, started_at) SELECT e.sandbox_id, e.organization_id, e.region, e.class, e.cpu_cores, e.memory_gib, \
             e.disk_gib, e.gpu, s.updated_at FROM usage_entries e JOIN sandboxes s ON s.id = e.sandbox_id",
        ] {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
