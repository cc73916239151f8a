//! Volumes, which sandboxes mount them, and how many an organization may have.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::columns::{self, big, big_option, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_volumes"
    }
}

/// In words that both databases take.
const STATEMENTS: [&str; 6] = [
    "ALTER TABLE sandboxes ADD COLUMN volumes text",
    "ALTER TABLE organizations ADD COLUMN volume_quota bigint",
    // A volume that is being deleted frees its name at once.
    "CREATE UNIQUE INDEX volumes_live_name ON volumes (organization_id, name) \
     WHERE state NOT IN ('pending_delete', 'deleting', 'deleted')",
    "CREATE INDEX volumes_unsettled ON volumes (id) \
     WHERE state IN ('pending_create', 'creating', 'pending_delete', 'deleting')",
    "CREATE INDEX volumes_deleted ON volumes (updated_at) WHERE state = 'deleted'",
    "CREATE INDEX sandbox_volumes_by_sandbox ON sandbox_volumes (sandbox_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for mut table in tables(manager.get_database_backend()) {
            manager.create_table(table.take()).await?;
        }
        for statement in STATEMENTS {
            let connection = manager.get_connection();
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

fn tables(backend: DbBackend) -> Vec<TableCreateStatement> {
    let text = |name| columns::text(backend, name);
    let text_option = |name| columns::text_option(backend, name);
    vec![
        table(
            "volumes",
            [
                text("id").primary_key().take(),
                text("organization_id"),
                text("name"),
                text("state"),
                text_option("error_reason"),
                big("size_bytes"),
                big("created_at"),
                big("updated_at"),
                big_option("last_used_at"),
                big("version"),
            ],
        ),
        table("sandbox_volumes", [text("volume_id"), text("sandbox_id")])
            .primary_key(
                Index::create()
                    .col(Alias::new("volume_id"))
                    .col(Alias::new("sandbox_id")),
            )
            .take(),
    ]
}
