//! Members of organizations and their roles; suspended organizations, and those that are being deleted.

use sea_orm_migration::prelude::*;

use super::columns::{big, big_option, table, text, text_option, truth};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0027_members"
    }
}

const INDEXES: [&str; 4] = [
    "CREATE INDEX members_by_user ON members (user_id)",
    "CREATE UNIQUE INDEX roles_name ON roles (organization_id, name)",
    "CREATE INDEX member_roles_by_role ON member_roles (role_id)",
    "CREATE INDEX users_by_email ON users (email)",
];

/// Until now, whoever made an organization was all of it.
const OWNERS: &str = "INSERT INTO members (organization_id, user_id, role, created_at, updated_at) \
     SELECT id, created_by, 'owner', created_at, created_at FROM organizations";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let key = |columns: [&'static str; 2]| {
            let mut key = Index::create();
            for column in columns {
                key.col(Alias::new(column));
            }
            key
        };
        let members = table(
            "members",
            [
                text(backend, "organization_id"),
                text(backend, "user_id"),
                text(backend, "role"),
                big("created_at"),
                big("updated_at"),
            ],
        )
        .primary_key(&mut key(["organization_id", "user_id"]))
        .take();
        let roles = table(
            "roles",
            [
                text(backend, "id").primary_key().take(),
                text(backend, "organization_id"),
                text(backend, "name"),
                text(backend, "description"),
                text(backend, "permissions"),
                big("created_at"),
                big("updated_at"),
            ],
        );
        let member_roles = table(
            "member_roles",
            [
                text(backend, "organization_id"),
                text(backend, "user_id"),
                text(backend, "role_id"),
            ],
        )
        .primary_key(
            Index::create()
                .col(Alias::new("organization_id"))
                .col(Alias::new("user_id"))
                .col(Alias::new("role_id")),
        )
        .take();
        for table in [members, roles, member_roles] {
            manager.create_table(table).await?;
        }
        // SQLite takes one column at a time.
        for column in [
            big_option("suspended_at"),
            text_option(backend, "suspension_reason"),
            big_option("suspended_until"),
            big_option("suspension_grace_hours"),
            big_option("closing_since"),
        ] {
            add(manager, "organizations", column).await?;
        }
        // The one user that there can be is the administrator.
        let verified = truth("is_email_verified").default(true).take();
        add(manager, "users", verified).await?;
        let connection = manager.get_connection();
        for statement in INDEXES {
            connection.execute_unprepared(statement).await?;
        }
        connection.execute_unprepared(OWNERS).await?;
        Ok(())
    }
}

async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: ColumnDef,
) -> Result<(), DbErr> {
    let altered = Table::alter()
        .table(Alias::new(table))
        .add_column(column)
        .take();
    manager.alter_table(altered).await
}
