//! Programs that wait for a person to let them in.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text, text_option, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0050_device_logins"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "code_hash").primary_key().take(),
            text(backend, "user_code_hash").unique_key().take(),
            text(backend, "client"),
            text_option(backend, "device"),
            text_option(backend, "address"),
            big("began_at"),
            truth("is_denied"),
            text_option(backend, "approved_by"),
            text_option(backend, "approved_in"),
        ];
        manager.create_table(table("device_logins", columns)).await
    }
}
