//! The project of a volume that a client of sessions calls a drive.

use sea_orm_migration::prelude::*;

use super::columns::text_option;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0026_drives"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let table = Table::alter()
            .table(Alias::new("volumes"))
            .add_column(text_option(backend, "project"))
            .take();
        manager.alter_table(table).await
    }
}
