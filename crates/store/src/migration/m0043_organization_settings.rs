//! What organizations say of themselves.

use sea_orm_migration::prelude::*;

use super::columns::{table, text, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0043_organization_settings"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "organization_id").primary_key().take(),
            text_option(backend, "otel_endpoint"),
            text_option(backend, "otel_headers"),
            text_option(backend, "experimental"),
        ];
        let settings = table("organization_settings", columns);
        manager.create_table(settings).await
    }
}
