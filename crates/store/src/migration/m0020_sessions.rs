//! When the run of a sandbox is to end.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0020_sessions"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        // In words that both databases take.
        connection
            .execute_unprepared("ALTER TABLE sandboxes ADD COLUMN stop_at bigint")
            .await?;
        Ok(())
    }
}
