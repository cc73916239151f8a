//! Signed preview URLs that were ended before their time.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0012_previews"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [text(backend, "id").primary_key().take(), big("expires_at")];
        manager.create_table(table("ended_previews", columns)).await
    }
}
