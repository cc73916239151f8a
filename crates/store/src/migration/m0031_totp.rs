//! Second factors: the secrets of authenticators, and codes for who has lost one.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0031_totp"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let secrets = [
            text(backend, "user_id").primary_key().take(),
            text(backend, "sealed"),
            big("last_step"),
            truth("is_confirmed"),
        ];
        let codes = table(
            "recovery_codes",
            [text(backend, "user_id"), text(backend, "hash")],
        )
        .primary_key(
            Index::create()
                .col(Alias::new("user_id"))
                .col(Alias::new("hash")),
        )
        .take();
        manager.create_table(table("totp_secrets", secrets)).await?;
        manager.create_table(codes).await?;
        let altered = Table::alter()
            .table(Alias::new("password_links"))
            .add_column(truth("removes_totp").default(false).take())
            .take();
        manager.alter_table(altered).await
    }
}
