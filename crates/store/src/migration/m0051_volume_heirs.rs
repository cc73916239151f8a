//! Finding the copies of a volume, of which few have any.

use sea_orm_migration::prelude::*;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0051_volume_heirs"
    }
}

const INDEX: &str =
    "CREATE INDEX volumes_by_source ON volumes (source_id) WHERE source_id IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared(INDEX).await?;
        Ok(())
    }
}
