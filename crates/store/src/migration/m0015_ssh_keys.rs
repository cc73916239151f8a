//! Public keys of users, for SSH.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0015_ssh_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "user_id"),
            text(backend, "name"),
            text(backend, "fingerprint"),
            text(backend, "public_key"),
            big("created_at"),
        ];
        manager.create_table(table("ssh_keys", columns)).await?;
        let connection = manager.get_connection();
        for index in [
            "CREATE UNIQUE INDEX ssh_keys_by_owner ON ssh_keys (organization_id, user_id, fingerprint)",
            "CREATE INDEX ssh_keys_by_fingerprint ON ssh_keys (fingerprint)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
