//! What sandboxes are pausing for, being made into, and forked from.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_work"
    }
}

/// In words that both databases take.
const STATEMENTS: [&str; 5] = [
    "ALTER TABLE sandboxes ADD COLUMN auto_pause_minutes bigint NOT NULL DEFAULT 0",
    "ALTER TABLE sandboxes ADD COLUMN work text",
    "ALTER TABLE sandboxes ADD COLUMN parent_id text",
    "ALTER TABLE snapshots ADD COLUMN source_sandbox_id text",
    "CREATE INDEX sandboxes_by_parent ON sandboxes (parent_id, created_at) WHERE parent_id IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in STATEMENTS {
            let connection = manager.get_connection();
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
