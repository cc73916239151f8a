//! Images that are built for sandboxes.

use sea_orm_migration::prelude::*;

use super::columns;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0010_built"
    }
}

/// In words that both databases take.
const STATEMENTS: [&str; 3] = [
    "ALTER TABLE sandboxes ADD COLUMN is_built boolean NOT NULL DEFAULT false",
    // A build that failed, or an image that goes, is in nobody's way.
    "CREATE UNIQUE INDEX snapshots_built ON snapshots (organization_id, build_key) \
     WHERE build_key IS NOT NULL AND state IN ('building', 'active')",
    "CREATE INDEX sandboxes_of_snapshot ON sandboxes (snapshot_id) WHERE state <> 'destroyed'",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let build_key = columns::text_option(manager.get_database_backend(), "build_key");
        manager
            .alter_table(
                Table::alter()
                    .table(Alias::new("snapshots"))
                    .add_column(build_key)
                    .take(),
            )
            .await?;
        for statement in STATEMENTS {
            let connection = manager.get_connection();
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
