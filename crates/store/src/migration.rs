//! The schema, forward only. Each step is frozen once released; the schema snapshot test tells.

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

mod columns;
mod m0001_first;
mod m0004_lists;

#[derive(Debug)]
pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0004_lists::Migration),
        ]
    }
}
