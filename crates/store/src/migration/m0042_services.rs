//! Credentials of programs that serve the platform.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0042_services"
    }
}

const HASHES: &str = "CREATE UNIQUE INDEX service_credentials_hash ON service_credentials (hash)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "role"),
            text(backend, "hash"),
            text(backend, "suffix"),
            big("created_at"),
            big_option("ends_at"),
        ];
        manager
            .create_table(table("service_credentials", columns))
            .await?;
        manager
            .get_connection()
            .execute_unprepared(HASHES)
            .await
            .map(drop)
    }
}
