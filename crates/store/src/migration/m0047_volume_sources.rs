//! The volume with whose content another begins.

use sea_orm_migration::prelude::*;

use super::columns::text_option;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0047_volume_sources"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let table = Table::alter()
            .table(Alias::new("volumes"))
            .add_column(text_option(backend, "source_id"))
            .take();
        manager.alter_table(table).await
    }
}
