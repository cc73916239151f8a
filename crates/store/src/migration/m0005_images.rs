//! Where snapshots' images come from, and what their sandboxes run.

use sea_orm_migration::prelude::*;

use super::columns;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_images"
    }
}

/// In words that both databases take.
const STATEMENTS: [&str; 5] = [
    "ALTER TABLE snapshots ADD COLUMN has_own_entrypoint boolean NOT NULL DEFAULT false",
    "ALTER TABLE snapshots ADD COLUMN deactivated_at bigint",
    "ALTER TABLE sandboxes ADD COLUMN entrypoint text NOT NULL DEFAULT '[]'",
    "CREATE INDEX snapshots_unsettled ON snapshots (state) WHERE state <> 'active'",
    "CREATE INDEX sandboxes_by_image ON sandboxes (image) WHERE state <> 'destroyed'",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let image_name = columns::text_option(manager.get_database_backend(), "image_name");
        manager
            .alter_table(
                Table::alter()
                    .table(Alias::new("snapshots"))
                    .add_column(image_name)
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
