//! Accounts, snapshots, sandboxes, the queue of orders, the outbox.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::columns::{self, big, big_option, table, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

/// What the builder cannot say, in words that both databases take.
const INDEXES: [&str; 8] = [
    "CREATE UNIQUE INDEX api_keys_owner_name ON api_keys (organization_id, user_id, name)",
    "CREATE UNIQUE INDEX snapshots_general_name ON snapshots (name) WHERE organization_id IS NULL",
    "CREATE UNIQUE INDEX snapshots_name ON snapshots (organization_id, name)",
    // A deleted sandbox frees its name at once, although its row stays for a while.
    "CREATE UNIQUE INDEX sandboxes_live_name ON sandboxes (organization_id, name) \
     WHERE desired_state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_activity ON sandboxes (organization_id, last_activity_at, id)",
    "CREATE INDEX sandboxes_by_creation ON sandboxes (organization_id, created_at, id)",
    "CREATE INDEX sandboxes_destroyed ON sandboxes (state_changed_at) WHERE state = 'destroyed'",
    "CREATE INDEX sandbox_labels_by_value ON sandbox_labels (key, value)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for mut table in tables(manager.get_database_backend()) {
            manager.create_table(table.take()).await?;
        }
        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }
}

fn tables(backend: DbBackend) -> Vec<TableCreateStatement> {
    let text = |name| columns::text(backend, name);
    let text_option = |name| columns::text_option(backend, name);
    vec![
        table(
            "users",
            [
                text("id").primary_key().take(),
                text("name"),
                text("email"),
                truth("is_admin"),
                big("created_at"),
            ],
        ),
        table(
            "organizations",
            [
                text("id").primary_key().take(),
                text("name"),
                text("created_by"),
                truth("is_personal"),
                big("created_at"),
            ],
        ),
        table(
            "api_keys",
            [
                text("hash").primary_key().take(),
                text("organization_id"),
                text("user_id"),
                text("name"),
                text("prefix"),
                text("suffix"),
                text("permissions"),
                big("created_at"),
                big_option("expires_at"),
            ],
        ),
        table(
            "snapshots",
            [
                text("id").primary_key().take(),
                text_option("organization_id"),
                text("name"),
                text("image"),
                text("state"),
                big_option("size_bytes"),
                text("entrypoint"),
                text("os_user"),
                big("cpu_cores"),
                big("memory_gib"),
                big("disk_gib"),
                big("gpu"),
                text("class"),
                text_option("error_reason"),
                big("created_at"),
                big("updated_at"),
                big_option("last_used_at"),
            ],
        ),
        table(
            "sandboxes",
            [
                text("id").primary_key().take(),
                text("organization_id"),
                text("name"),
                text("name_lower"),
                text("snapshot_id"),
                text("snapshot"),
                text("image"),
                text("class"),
                text("os_user"),
                text("env"),
                text("labels"),
                truth("is_public"),
                text("region"),
                big("cpu_cores"),
                big("memory_gib"),
                big("disk_gib"),
                big("gpu"),
                big("auto_stop_minutes"),
                big("auto_archive_minutes"),
                big_option("auto_delete_minutes"),
                big_option("ttl_minutes"),
                big_option("auto_destroy_at"),
                text("state"),
                text("desired_state"),
                big("generation"),
                big("state_changed_at"),
                text_option("fault_code"),
                text_option("fault_message"),
                truth("has_disk"),
                truth("is_recoverable"),
                text_option("agent_version"),
                big("created_at"),
                big("updated_at"),
                big("last_activity_at"),
                big("version"),
            ],
        ),
        table(
            "commands",
            [
                text("sandbox_id").primary_key().take(),
                big("generation"),
                text("goal"),
                truth("force"),
                big("attempt"),
                text("owner"),
                big("lease_until"),
                big("created_at"),
            ],
        ),
        table(
            "outbox",
            [
                big("sequence").auto_increment().primary_key().take(),
                text("organization_id"),
                text("kind"),
                text_option("old_value"),
                text_option("new_value"),
                text("payload"),
                big("created_at"),
            ],
        ),
        table(
            "secrets",
            [text("name").primary_key().take(), text("value")],
        ),
        table(
            "sandbox_labels",
            [text("sandbox_id"), text("key"), text("value")],
        )
        .primary_key(
            Index::create()
                .col(Alias::new("sandbox_id"))
                .col(Alias::new("key")),
        )
        .take(),
    ]
}
