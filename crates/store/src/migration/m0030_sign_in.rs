//! Passwords, sessions, links that set a password, and failures to sign in.

use sea_orm_migration::prelude::*;

use super::columns::{big, table, text};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0030_sign_in"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let passwords = [
            text(backend, "user_id").primary_key().take(),
            text(backend, "hash"),
            big("changed_at"),
        ];
        let sessions = [
            text(backend, "hash").primary_key().take(),
            text(backend, "user_id"),
            big("created_at"),
            big("last_used_at"),
            big("expires_at"),
        ];
        // A user has one link at most: a new one ends the one before.
        let links = [
            text(backend, "user_id").primary_key().take(),
            text(backend, "hash"),
            big("expires_at"),
        ];
        let attempts = [
            text(backend, "bucket").primary_key().take(),
            big("failures"),
            big("last_at"),
        ];
        manager.create_table(table("passwords", passwords)).await?;
        manager
            .create_table(table("login_sessions", sessions))
            .await?;
        manager.create_table(table("password_links", links)).await?;
        manager
            .create_table(table("login_attempts", attempts))
            .await?;
        let connection = manager.get_connection();
        for index in [
            "CREATE INDEX login_sessions_by_user ON login_sessions (user_id)",
            "CREATE UNIQUE INDEX password_links_hash ON password_links (hash)",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}
