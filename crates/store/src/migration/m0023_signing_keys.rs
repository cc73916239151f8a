//! How often the key that signs a sandbox's file URLs was changed. The keys themselves are kept nowhere.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0023_signing_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "sandbox_id").primary_key().take(),
            big("rotations"),
        ];
        manager.create_table(table("signing_keys", columns)).await
    }
}
