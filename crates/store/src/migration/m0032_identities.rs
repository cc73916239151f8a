//! Whom an identity provider means by a subject.

use sea_orm_migration::prelude::*;

use super::columns::{table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0032_identities"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "issuer"),
            text(backend, "subject"),
            text(backend, "user_id"),
        ];
        let identities = table("identities", columns)
            .primary_key(
                Index::create()
                    .col(Alias::new("issuer"))
                    .col(Alias::new("subject")),
            )
            .take();
        manager.create_table(identities).await
    }
}
