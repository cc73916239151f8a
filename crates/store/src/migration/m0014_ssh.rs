//! Tokens for SSH. Only their hashes are kept.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0014_ssh"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "token_hash").primary_key().take(),
            text(backend, "id"),
            text(backend, "sandbox_id"),
            big("expires_at"),
            big("created_at"),
            big("updated_at"),
            text_option(backend, "ended"),
        ];
        manager.create_table(table("ssh_accesses", columns)).await?;
        let connection = manager.get_connection();
        for index in [
            "CREATE INDEX ssh_accesses_by_sandbox ON ssh_accesses (sandbox_id)",
            "CREATE INDEX ssh_accesses_by_end ON ssh_accesses (expires_at)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
