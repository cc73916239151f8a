//! Indexes that pages of lists are read from.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_lists"
    }
}

/// Destroyed rows stay for a day and are no part of any list, so no index has them.
const STATEMENTS: [&str; 17] = [
    "DROP INDEX sandboxes_by_activity",
    "DROP INDEX sandboxes_by_creation",
    "DROP INDEX sandbox_labels_by_value",
    "CREATE INDEX sandboxes_by_id ON sandboxes (organization_id, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_name ON sandboxes (organization_id, name, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_name_lower ON sandboxes (organization_id, name_lower, id) \
     WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_cpu ON sandboxes (organization_id, cpu_cores, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_memory ON sandboxes (organization_id, memory_gib, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_disk ON sandboxes (organization_id, disk_gib, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_activity ON sandboxes (organization_id, last_activity_at, id) \
     WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_creation ON sandboxes (organization_id, created_at, id) \
     WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_update ON sandboxes (organization_id, updated_at, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_state ON sandboxes (organization_id, state, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_snapshot ON sandboxes (organization_id, snapshot, id) WHERE state <> 'destroyed'",
    "CREATE INDEX sandboxes_by_region ON sandboxes (organization_id, region, id) WHERE state <> 'destroyed'",
    // Everything that a list filters and sorts by, so that a question which few sandboxes answer is decided
    // without touching the rows of the others.
    "CREATE INDEX sandboxes_search ON sandboxes (organization_id, state, desired_state, class, region, \
     is_public, is_recoverable, cpu_cores, memory_gib, disk_gib, created_at, updated_at, last_activity_at, \
     auto_destroy_at, snapshot, snapshot_id, name, name_lower, id) WHERE state <> 'destroyed'",
    // Values may be longer than PostgreSQL takes into an index.
    "CREATE INDEX sandbox_labels_by_start ON sandbox_labels (key, substr(value, 1, 200), sandbox_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in STATEMENTS {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        Ok(())
    }
}
