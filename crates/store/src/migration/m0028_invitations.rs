//! Invitations into organizations.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0028_invitations"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "email"),
            text(backend, "invited_by"),
            text(backend, "role"),
            text(backend, "role_ids"),
            text(backend, "status"),
            big("expires_at"),
            big("created_at"),
            big("updated_at"),
        ];
        manager.create_table(table("invitations", columns)).await?;
        let connection = manager.get_connection();
        for index in [
            // Who is invited twice would not know which counts.
            "CREATE UNIQUE INDEX invitations_pending ON invitations (organization_id, email) \
             WHERE status = 'pending'",
            "CREATE INDEX invitations_by_email ON invitations (email)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
