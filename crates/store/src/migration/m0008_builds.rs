//! Builds of images.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_builds"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "snapshot_id"),
            text(backend, "dockerfile"),
            text(backend, "context_hashes"),
            big("created_at"),
            big("deadline"),
            truth("is_open"),
        ];
        manager.create_table(table("builds", columns)).await?;
        for statement in [
            "CREATE INDEX builds_by_snapshot ON builds (snapshot_id)",
            "CREATE INDEX builds_open ON builds (created_at) WHERE is_open",
        ] {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        Ok(())
    }
}
