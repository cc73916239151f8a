//! Whether a sandbox has not yet what its create promises. It was a label before, which every client could replace.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0046_unfinished"
    }
}

/// In words that both databases take.
const STATEMENTS: [&str; 2] = [
    "ALTER TABLE sandboxes ADD COLUMN is_unfinished boolean NOT NULL DEFAULT false",
    // What the process before has begun goes as it would have gone.
    "UPDATE sandboxes SET is_unfinished = true WHERE id IN \
     (SELECT sandbox_id FROM sandbox_labels WHERE key = 'vercel.unfinished')",
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
