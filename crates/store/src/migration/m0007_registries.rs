//! Registries of organizations.

use sea_orm_migration::prelude::*;

use super::columns::{self, big, table, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_registries"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let text = |name| columns::text(backend, name);
        let mut registries = table(
            "registries",
            [
                text("id").primary_key().take(),
                text("organization_id"),
                text("name"),
                text("url"),
                text("username"),
                text("password"),
                text("project"),
                truth("is_default"),
                big("created_at"),
                big("updated_at"),
            ],
        );
        manager.create_table(registries.take()).await?;
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE INDEX registries_by_organization ON registries (organization_id, created_at, id)",
            )
            .await?;
        Ok(())
    }
}
