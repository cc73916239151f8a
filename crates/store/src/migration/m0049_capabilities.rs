//! What the host of a runner said that it can do.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0049_capabilities"
    }
}

const STATEMENTS: [&str; 2] = [
    "ALTER TABLE runners ADD COLUMN architecture text",
    "ALTER TABLE runners ADD COLUMN capabilities text",
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
