//! When snapshots go by themselves, and where those stand that clients of sessions make.

use sea_orm_migration::prelude::*;

use super::columns::{big_option, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0025_lineage"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        // One at a time: SQLite takes no more.
        for column in [
            big_option("expires_at"),
            text_option(backend, "parent_id"),
            text_option(backend, "source_session"),
            text_option(backend, "project"),
        ] {
            let table = Table::alter()
                .table(Alias::new("snapshots"))
                .add_column(column)
                .take();
            manager.alter_table(table).await?;
        }
        let connection = manager.get_connection();
        for index in [
            "CREATE INDEX snapshots_by_expiry ON snapshots (expires_at)",
            "CREATE INDEX snapshots_by_parent ON snapshots (parent_id)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
