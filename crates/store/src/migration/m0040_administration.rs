//! Snapshots of an organization that every organization sees, and lists over all organizations.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0040_administration"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = ColumnDef::new(Alias::new("is_shared"))
            .boolean()
            .not_null()
            .default(false)
            .take();
        let table = Table::alter()
            .table(Alias::new("snapshots"))
            .add_column(&mut column)
            .take();
        manager.alter_table(table).await?;
        for index in [
            "CREATE UNIQUE INDEX snapshots_shared_name ON snapshots (name) WHERE is_shared",
            "CREATE INDEX sandboxes_of_all ON sandboxes (created_at, id) WHERE state <> 'destroyed'",
        ] {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}
