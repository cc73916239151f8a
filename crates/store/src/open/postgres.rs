//! A PostgreSQL database, named by a URL.
//!
//! One server writes to it at a time. That is a lock of the database which the writing connection takes as
//! soon as it stands and holds as long as it lives: a server that loses its connection loses the lock with it,
//! and cannot write again before it has both back. Nothing needs to be believed about clocks or leases.

use std::str::FromStr as _;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, SqlxError, SqlxPostgresConnector};

use super::{ACQUIRE_TIMEOUT, READERS};
use crate::StoreError;

/// The number of the lock; the letters of "alcove".
const WRITER_LOCK: i64 = 0x616c_636f_7665;
/// How long a start waits for a server before it to go: the database notices the end of a killed one when its
/// connection breaks.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(100);

pub(super) fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(failed)?;
    Ok(options
        .application_name("alcove")
        .disable_statement_logging())
}

/// The one connection that writes.
///
/// # Errors
/// [`StoreError::InUse`] if another server holds the lock.
pub(super) async fn writer(options: &PgConnectOptions) -> Result<DatabaseConnection, StoreError> {
    wait_for_lock(options).await?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The lock lives and dies with the connection, so a connection is kept for good.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| {
            Box::pin(async move {
                if try_lock(connection).await? {
                    Ok(())
                } else {
                    Err(SqlxError::Protocol(
                        "another server writes to this database".to_owned(),
                    ))
                }
            })
        })
        .connect_with(options.clone())
        .await
        .map_err(failed)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Connections that cannot write.
pub(super) async fn readers(options: &PgConnectOptions) -> Result<DatabaseConnection, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(READERS)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(
            options
                .clone()
                .options([("default_transaction_read_only", "on")]),
        )
        .await
        .map_err(failed)?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Asked once by a connection of its own: the pool would only say that its time was up.
async fn wait_for_lock(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = options.connect().await.map_err(failed)?;
    let waited = tokio::time::timeout(LOCK_WAIT, async {
        while !try_lock(&mut connection).await? {
            tokio::time::sleep(LOCK_RETRY).await;
        }
        Ok::<(), SqlxError>(())
    })
    .await;
    let is_free = waited.is_ok();
    waited.unwrap_or(Ok(())).map_err(failed)?;
    connection.close().await.map_err(failed)?;
    if is_free {
        Ok(())
    } else {
        Err(StoreError::InUse)
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, SqlxError> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(WRITER_LOCK)
        .fetch_one(connection)
        .await
}

/// The URL stays out of it: it may hold a password.
fn failed(source: SqlxError) -> StoreError {
    StoreError::Connect {
        source: DbErr::Conn(RuntimeErr::SqlxError(source.into())),
    }
}
