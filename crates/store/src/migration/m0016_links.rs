//! Sandboxes that are linked with others.

use sea_orm_migration::prelude::*;

use super::columns::text_option;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0016_links"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = text_option(manager.get_database_backend(), "linked_sandbox_id");
        let table = Table::alter()
            .table(Alias::new("sandboxes"))
            .add_column(&mut column)
            .take();
        manager.alter_table(table).await?;
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE INDEX sandboxes_by_link ON sandboxes (linked_sandbox_id) \
                 WHERE linked_sandbox_id IS NOT NULL",
            )
            .await?;
        Ok(())
    }
}
