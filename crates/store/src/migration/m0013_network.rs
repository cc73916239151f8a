//! What sandboxes may reach.

use sea_orm_migration::prelude::*;

use super::columns::{big_option, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0013_network"
    }
}

/// In words that both databases take.
const STATEMENTS: [&str; 3] = [
    "ALTER TABLE sandboxes ADD COLUMN network_block_all boolean NOT NULL DEFAULT false",
    "ALTER TABLE sandboxes ADD COLUMN network_version bigint NOT NULL DEFAULT 1",
    "ALTER TABLE organizations ADD COLUMN is_egress_limited boolean NOT NULL DEFAULT false",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in STATEMENTS {
            let connection = manager.get_connection();
            connection.execute_unprepared(statement).await?;
        }
        let backend = manager.get_database_backend();
        let columns = [
            text_option(backend, "network_allow_list"),
            text_option(backend, "domain_allow_list"),
            big_option("network_applied"),
        ];
        for mut column in columns {
            let table = Table::alter()
                .table(Alias::new("sandboxes"))
                .add_column(&mut column)
                .take();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
