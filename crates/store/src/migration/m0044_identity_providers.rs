//! Identity providers of organizations, people of theirs who wait to be linked, and the sessions that they began.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text, text_option, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0044_identity_providers"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "name"),
            text(backend, "issuer"),
            text(backend, "client_id"),
            text(backend, "client_secret"),
            text_option(backend, "scope"),
            text(backend, "domains"),
            truth("allows_any_domain"),
            truth("trusts_addresses"),
            text(backend, "roles"),
            truth("is_enabled"),
            big("created_at"),
            big("updated_at"),
        ];
        let providers = table("sso_providers", columns);
        manager.create_table(providers).await?;
        let columns = [
            text(backend, "id").primary_key().take(),
            text(backend, "user_id"),
            text(backend, "organization_id"),
            text(backend, "provider_id"),
            text(backend, "subject"),
            text(backend, "made_user_id"),
            text(backend, "email"),
            big("created_at"),
            big("expires_at"),
        ];
        let links = table("pending_sso_links", columns);
        manager.create_table(links).await?;
        let connection = manager.get_connection();
        for index in [
            "CREATE INDEX sso_providers_by_organization ON sso_providers (organization_id, created_at)",
            "CREATE INDEX pending_sso_links_by_user ON pending_sso_links (user_id, created_at)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        // SQLite takes one at a time.
        for name in ["sso_organization_id", "sso_provider_id"] {
            let sessions = Table::alter()
                .table(Alias::new("login_sessions"))
                .add_column(text_option(backend, name))
                .take();
            manager.alter_table(sessions).await?;
        }
        Ok(())
    }
}
