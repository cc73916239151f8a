//! The proxies of single sandboxes.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0024_outbound_proxy"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        // In words that both databases take.
        connection
            .execute_unprepared("ALTER TABLE sandboxes ADD COLUMN outbound_proxy text")
            .await?;
        Ok(())
    }
}
