//! Webhooks: endpoints of organizations, messages to them, and what came of those.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text, text_option};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0033_webhooks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let applications = [
            text(backend, "organization_id").primary_key().take(),
            big("created_at"),
            big("updated_at"),
        ];
        let cursors = [text(backend, "name").primary_key().take(), big("sequence")];
        let endpoints = [
            text(backend, "id").primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "url"),
            text(backend, "description"),
            text(backend, "events"),
            text(backend, "secret"),
            text_option(backend, "old_secret"),
            big_option("old_secret_until"),
            big_option("disabled_at"),
            text_option(backend, "disabled_reason"),
            big("after_sequence"),
            big("created_at"),
            big("updated_at"),
        ];
        let messages = [
            big("sequence").auto_increment().primary_key().take(),
            text(backend, "id").unique_key().take(),
            text(backend, "organization_id"),
            text(backend, "event"),
            text(backend, "payload"),
            big("created_at"),
        ];
        let deliveries = [
            text(backend, "endpoint_id"),
            big("message_sequence"),
            text(backend, "organization_id"),
            text(backend, "state"),
            big("failures"),
            big("next_at"),
        ];
        let attempts = [
            big("id").auto_increment().primary_key().take(),
            text(backend, "organization_id"),
            text(backend, "endpoint_id"),
            text(backend, "message_id"),
            big("number"),
            big("attempted_at"),
            big("took_ms"),
            big_option("status"),
            text_option(backend, "error"),
        ];
        let mut deliveries = table("webhook_deliveries", deliveries);
        deliveries.primary_key(
            Index::create()
                .col(Alias::new("endpoint_id"))
                .col(Alias::new("message_sequence")),
        );
        for made in [
            table("webhook_applications", applications),
            table("webhook_cursors", cursors),
            table("webhook_endpoints", endpoints),
            table("webhook_messages", messages),
            deliveries,
            table("webhook_attempts", attempts),
        ] {
            manager.create_table(made).await?;
        }
        let connection = manager.get_connection();
        for index in [
            "CREATE INDEX webhook_endpoints_by_organization ON webhook_endpoints (organization_id)",
            "CREATE INDEX webhook_messages_by_organization ON webhook_messages (organization_id, sequence)",
            "CREATE INDEX webhook_messages_by_age ON webhook_messages (created_at)",
            // The head of each endpoint's queue.
            "CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (endpoint_id, message_sequence) \
             WHERE state = 'pending'",
            "CREATE INDEX webhook_deliveries_by_message ON webhook_deliveries (message_sequence)",
            "CREATE INDEX webhook_attempts_by_message ON webhook_attempts (message_id)",
            "CREATE INDEX webhook_attempts_by_endpoint ON webhook_attempts (endpoint_id, id)",
            "CREATE INDEX webhook_attempts_by_age ON webhook_attempts (attempted_at)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
