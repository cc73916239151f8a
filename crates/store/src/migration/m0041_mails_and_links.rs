//! Mail that waits to be sent, identities that users have linked, and limits of requests of organizations.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0041_mails_and_links"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "kind"),
            text(backend, "about"),
            text(backend, "recipient"),
            big("failures"),
            big("created_at"),
            big("next_at"),
        ];
        manager.create_table(table("mails", columns)).await?;
        let index = "CREATE INDEX mails_by_time ON mails (next_at, id)";
        manager.get_connection().execute_unprepared(index).await?;
        let identities = Table::alter()
            .table(Alias::new("identities"))
            .add_column(truth("is_linked").default(false).take())
            .take();
        manager.alter_table(identities).await?;
        // SQLite takes one at a time.
        for name in [
            "authenticated_count",
            "authenticated_seconds",
            "create_count",
            "create_seconds",
            "lifecycle_count",
            "lifecycle_seconds",
        ] {
            let organizations = Table::alter()
                .table(Alias::new("organizations"))
                .add_column(big_option(name).take())
                .take();
            manager.alter_table(organizations).await?;
        }
        Ok(())
    }
}
