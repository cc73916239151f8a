//! Quotas and the ledger of what counts against them. The ledger is filled by the first recount.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use super::columns::{self, big, big_option, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_usage"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for mut table in tables(manager.get_database_backend()) {
            manager.create_table(table.take()).await?;
        }
        Ok(())
    }
}

fn owner_key() -> IndexCreateStatement {
    Index::create()
        .col(Alias::new("organization_id"))
        .col(Alias::new("region"))
        .col(Alias::new("class"))
        .take()
}

fn tables(backend: DbBackend) -> Vec<TableCreateStatement> {
    let text = |name| columns::text(backend, name);
    let owner = || ["organization_id", "region", "class"].map(text);
    let amounts = || ["sandboxes", "cpu_cores", "memory_gib", "disk_gib", "gpu"].map(big);
    let limits = [
        "total_sandboxes",
        "total_cpu_cores",
        "total_memory_gib",
        "total_disk_gib",
        "total_gpu",
        "sandbox_cpu_cores",
        "sandbox_memory_gib",
        "sandbox_disk_gib",
        "sandbox_lasting_disk_gib",
    ]
    .map(big_option);
    vec![
        table("quotas", owner().into_iter().chain(limits))
            .primary_key(&mut owner_key())
            .take(),
        table(
            "usage_entries",
            std::iter::once(text("sandbox_id").primary_key().take())
                .chain(owner())
                .chain(amounts()),
        ),
        table("usage_totals", owner().into_iter().chain(amounts()))
            .primary_key(&mut owner_key())
            .take(),
    ]
}
