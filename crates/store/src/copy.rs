//! A copy of the whole database as it is at one moment, while others read and write it.
//!
//! The copy is a SQLite file, whichever database it was taken of, and either can be filled from it.

use std::path::Path;

use futures_util::TryStreamExt as _;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use sea_orm::{
    AccessMode, ActiveModelTrait as _, ConnectionTrait, DatabaseBackend, DatabaseConnection,
    DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, IsolationLevel, RuntimeErr,
    SqlxError, Statement, TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait as _;

use crate::migration::Migrator;
use crate::open::migrate;
use crate::{Store, StoreError, entity};

/// Rows that are written at once. All their values together are parameters of one statement.
const CHUNK: usize = 200;

/// Columns that the database counts by itself. The count goes on where it was, also where the last rows are gone: places
/// in the outbox are remembered elsewhere.
const COUNTED: [(&str, &str); 5] = [
    ("audit_rows", "sequence"),
    ("outbox", "sequence"),
    ("webhook_messages", "sequence"),
    ("webhook_attempts", "id"),
    ("usage_periods", "id"),
];

/// Calls `$what!` with every table there is.
macro_rules! each_table {
    ($what:ident) => {
        $what!(
            api_key,
            audit_log,
            audit_row,
            build,
            command,
            departed_organization,
            device_login,
            ended_preview,
            identity,
            invitation,
            login_attempt,
            login_session,
            mail,
            member,
            member_role,
            organization,
            organization_setting,
            outbox,
            password,
            password_link,
            pending_sso_link,
            quota,
            recovery_code,
            region,
            registry,
            role,
            runner,
            sandbox,
            sandbox_label,
            sandbox_volume,
            secret,
            service_credential,
            signing_key,
            snapshot,
            ssh_access,
            ssh_key,
            sso_provider,
            totp_secret,
            usage_entry,
            usage_period,
            usage_total,
            user,
            vault_secret,
            volume,
            warm_pool,
            webhook_application,
            webhook_attempt,
            webhook_cursor,
            webhook_delivery,
            webhook_endpoint,
            webhook_message,
        )
    };
}

/// The steps that the schema has gone through, the first one first. A database that has a step which is not among them
/// was written by a newer version.
pub fn schema_steps() -> Vec<String> {
    let steps = Migrator::migrations();
    steps.iter().map(|step| step.name().to_owned()).collect()
}

impl Store {
    /// Writes a copy to a new file. It has everything that was committed before this was called.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let connection = &self.reader().connection;
        if connection.get_database_backend() == DatabaseBackend::Sqlite {
            return copy_file(connection, path).await;
        }
        let failed = StoreError::read("the database");
        let at_once = connection.begin_with_config(
            Some(IsolationLevel::RepeatableRead),
            Some(AccessMode::ReadOnly),
        );
        let from = at_once.await.map_err(failed)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .disable_statement_logging();
        let to = sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(lost)?;
        let to = sea_orm::SqlxSqliteConnector::from_sqlx_sqlite_pool(to);
        migrate(&to).await?;
        copy_rows(&from, &to).await?;
        to.close().await.map_err(StoreError::write("the copy"))
    }

    /// Fills the PostgreSQL database that a URL names from a copy. It must be empty.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] if something was written to it already.
    pub async fn fill(url: &str, copy: &Path) -> Result<(), StoreError> {
        let store = Self::connect(url).await?;
        let users = entity::user::Entity::find()
            .one(&store.reader().connection)
            .await
            .map_err(StoreError::read("users"))?;
        if users.is_some() {
            return Err(StoreError::NotEmpty);
        }
        let options = SqliteConnectOptions::new()
            .filename(copy)
            .disable_statement_logging();
        let from = sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(lost)?;
        let from = sea_orm::SqlxSqliteConnector::from_sqlx_sqlite_pool(from);
        // Of an older version, perhaps.
        migrate(&from).await?;
        let reading = from.begin().await;
        let reading = reading.map_err(StoreError::read("the copy"))?;
        copy_rows(&reading, store.writer()).await?;
        drop(reading);
        from.close().await.map_err(StoreError::read("the copy"))?;
        store.close().await;
        Ok(())
    }
}

/// On a connection of its own: those of readers refuse to write, even to another file.
async fn copy_file(reader: &DatabaseConnection, path: &Path) -> Result<(), StoreError> {
    let list = Statement::from_string(DatabaseBackend::Sqlite, "PRAGMA database_list");
    let row = reader.query_one_raw(list).await;
    let row = row.map_err(StoreError::read("the name of the database"))?;
    let own = row.map(|row| row.try_get_by_index::<String>(2)).transpose();
    let own = own.map_err(StoreError::read("the name of the database"))?;
    let mut connection = SqliteConnectOptions::new()
        .filename(own.unwrap_or_default())
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(lost)?;
    let copied = sqlx::query("VACUUM INTO ?")
        .bind(path.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await;
    copied.map_err(lost)?;
    connection.close().await.map_err(lost)
}

fn lost(source: SqlxError) -> StoreError {
    StoreError::Read {
        what: "the database",
        source: DbErr::Query(RuntimeErr::SqlxError(source.into())),
    }
}

/// Copies every row of every table, in one transaction.
async fn copy_rows(from: &DatabaseTransaction, to: &DatabaseConnection) -> Result<(), StoreError> {
    let failed = || StoreError::write("the copy");
    let to = to.begin().await.map_err(failed())?;
    macro_rules! copy_each {
        ($($table:ident),* $(,)?) => {
            $(copy_table::<entity::$table::Entity>(from, &to).await.map_err(failed())?;)*
        };
    }
    each_table!(copy_each);
    for (table, column) in COUNTED {
        let count = count_of(from, table, column).await.map_err(failed())?;
        if count > 0 {
            go_on(&to, table, column, count).await.map_err(failed())?;
        }
    }
    to.commit().await.map_err(failed())
}

async fn copy_table<E>(from: &DatabaseTransaction, to: &DatabaseTransaction) -> Result<(), DbErr>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel> + Send + Sync,
    E::ActiveModel: Send,
{
    // What the schema itself begins with.
    E::delete_many().exec(to).await?;
    let mut rows = E::find().stream(from).await?;
    let mut chunk = Vec::with_capacity(CHUNK);
    while let Some(row) = rows.try_next().await? {
        chunk.push(row.into_active_model().reset_all());
        if chunk.len() == CHUNK {
            let full = std::mem::take(&mut chunk);
            E::insert_many(full).exec_without_returning(to).await?;
        }
    }
    if !chunk.is_empty() {
        E::insert_many(chunk).exec_without_returning(to).await?;
    }
    Ok(())
}

/// The last number that the database gave; 0 for none.
async fn count_of(from: &DatabaseTransaction, table: &str, column: &str) -> Result<i64, DbErr> {
    let backend = from.get_database_backend();
    let text = match backend {
        DatabaseBackend::Sqlite => {
            format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'")
        }
        _ => format!(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {}",
            sequence_name(from, table, column).await?
        ),
    };
    let row = from.query_one_raw(Statement::from_string(backend, text));
    let row = row.await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}

async fn sequence_name(
    of: &DatabaseTransaction,
    table: &str,
    column: &str,
) -> Result<String, DbErr> {
    let text = format!("SELECT pg_get_serial_sequence('{table}', '{column}')");
    let row = of.query_one_raw(Statement::from_string(of.get_database_backend(), text));
    let row = row.await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound(table.to_owned()))?;
    row.try_get_by_index(0)
}

async fn go_on(
    to: &DatabaseTransaction,
    table: &str,
    column: &str,
    count: i64,
) -> Result<(), DbErr> {
    let statements = match to.get_database_backend() {
        DatabaseBackend::Sqlite => vec![
            format!("DELETE FROM sqlite_sequence WHERE name = '{table}'"),
            format!("INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', {count})"),
        ],
        _ => vec![format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {count})"
        )],
    };
    for statement in statements {
        to.execute_unprepared(&statement).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeSet;

    use sea_orm::EntityName as _;

    use super::*;

    #[tokio::test]
    async fn every_table_is_copied() {
        macro_rules! names {
            ($($table:ident),* $(,)?) => {
                [$(entity::$table::Entity.table_name().to_owned()),*]
            };
        }
        let copied = BTreeSet::from(each_table!(names));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("alcove.db")).await.unwrap();
        let query = Statement::from_string(
            DatabaseBackend::Sqlite,
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name NOT LIKE 'seaql_%'",
        );
        let rows = store.reader().connection.query_all_raw(query).await;
        let rows = rows.unwrap().into_iter();
        let there: BTreeSet<String> = rows.map(|row| row.try_get_by_index(0).unwrap()).collect();
        assert_eq!(copied, there);
    }
}
