//! What was done by whom, as chains of rows.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0034_audit"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let rows = [
            big("sequence").primary_key().auto_increment().take(),
            // The organization whose log it is; empty for the server's.
            text(backend, "log"),
            big("number"),
            text(backend, "id"),
            big("created_at"),
            text(backend, "actor_id"),
            text(backend, "actor_email"),
            text_option(backend, "key_name"),
            text_option(backend, "key_prefix"),
            text_option(backend, "key_suffix"),
            text(backend, "action"),
            text_option(backend, "target_type"),
            text_option(backend, "target_id"),
            big_option("status"),
            text_option(backend, "error_message"),
            text_option(backend, "ip_address"),
            text_option(backend, "user_agent"),
            text_option(backend, "source"),
            text(backend, "metadata"),
            text(backend, "previous_hash"),
            text(backend, "hash"),
        ];
        let logs = [
            text(backend, "log").primary_key().take(),
            // The first row that is kept, and the hash of the one before it.
            big("first_number"),
            text(backend, "first_previous_hash"),
            big("last_number"),
            text(backend, "last_hash"),
        ];
        manager.create_table(table("audit_rows", rows)).await?;
        manager.create_table(table("audit_logs", logs)).await?;
        let connection = manager.get_connection();
        for index in [
            "CREATE UNIQUE INDEX audit_rows_by_log ON audit_rows (log, number)",
            "CREATE INDEX audit_rows_by_target ON audit_rows (target_id, created_at, sequence)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
