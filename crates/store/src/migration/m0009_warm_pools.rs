//! Warm pools that organizations have asked for. Their members have no rows: nobody owns them.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_warm_pools"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "snapshot"),
            text(backend, "region"),
            big("size"),
            big("cpu_cores"),
            big("memory_gib"),
            big("disk_gib"),
            big("gpu"),
            text(backend, "os_user"),
            big("created_at"),
            big("updated_at"),
        ];
        manager.create_table(table("warm_pools", columns)).await?;
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE UNIQUE INDEX warm_pools_by_snapshot ON warm_pools (organization_id, region, snapshot)",
            )
            .await?;
        Ok(())
    }
}
