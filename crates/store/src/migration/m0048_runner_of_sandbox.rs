//! The runner that a sandbox is on, and the data folder that a runner has.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0048_runner_of_sandbox"
    }
}

const STATEMENTS: [&str; 3] = [
    "ALTER TABLE sandboxes ADD COLUMN runner_id text",
    "CREATE INDEX sandboxes_by_runner ON sandboxes (runner_id) WHERE runner_id IS NOT NULL",
    "ALTER TABLE runners ADD COLUMN instance text",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for statement in STATEMENTS {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
