//! When an API key was last used.

use sea_orm_migration::prelude::*;

use super::columns::big_option;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0022_key_use"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter()
            .table(Alias::new("api_keys"))
            .add_column(big_option("last_used_at"))
            .take();
        manager.alter_table(table).await
    }
}
