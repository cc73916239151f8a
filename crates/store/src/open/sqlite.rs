//! The SQLite database in the data folder: one file, one process.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::sqlx::{Connection as _, SqliteConnection};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, SqlxError};

use super::{ACQUIRE_TIMEOUT, READERS};
use crate::StoreError;

/// How long a statement waits for a lock that another process holds, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn writer(path: &Path) -> Result<DatabaseConnection, StoreError> {
    connect(path, writer_options(path)).await
}

pub(super) async fn readers(path: &Path) -> Result<DatabaseConnection, StoreError> {
    connect(path, reader_options(path)).await
}

async fn connect(path: &Path, options: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    Database::connect(options)
        .await
        .map_err(|source| StoreError::Open {
            path: path.to_owned(),
            source,
        })
}

/// Keeps a second server off a database.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Said aloud: a process that another thread is starting just now has a copy of the descriptor until it
        // executes its program, and would hold the lock that long.
        let _ = self.0.unlock();
    }
}

/// Keeps a second server off the same file until the answer is dropped.
pub(super) fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |source| StoreError::Lock {
        path: lock_path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed)?;
    file.try_lock().map_err(|error| failed(error.into()))?;
    Ok(Lock(file))
}

/// Whether a connection can be used for another transaction; one that cannot is closed, and the next writer
/// gets a new one.
///
/// SQLite may end a transaction itself when its commit fails, as on a full disk. The rollback that follows
/// fails then, and the driver goes on counting a transaction that is none: the next one would become a
/// savepoint within it, and no commit after it would ever reach the disk.
async fn is_between_transactions(connection: &mut SqliteConnection) -> Result<bool, SqlxError> {
    if connection.is_in_transaction() {
        // As a rule a rollback that is on its way, and through when the answer to this comes.
        connection.ping().await?;
    }
    let is_clean = !connection.is_in_transaction();
    if !is_clean {
        tracing::warn!("a transaction did not end as it should: its connection is replaced");
    }
    Ok(is_clean)
}

/// `FULL`, not `NORMAL`: what was acknowledged must survive a power cut, and in WAL mode `NORMAL` may lose
/// the last commits.
fn writer_options(path: &Path) -> ConnectOptions {
    let path = path.to_owned();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| Box::pin(is_between_transactions(connection)))
        })
        .map_sqlx_sqlite_opts(move |options| {
            options
                .in_memory(false)
                .shared_cache(false)
                .filename(&path)
                .create_if_missing(true)
                .busy_timeout(BUSY_TIMEOUT)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
        });
    options
}

fn reader_options(path: &Path) -> ConnectOptions {
    let path = path.to_owned();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .max_connections(READERS)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |options| {
            options
                .in_memory(false)
                .shared_cache(false)
                .filename(&path)
                .create_if_missing(false)
                .read_only(true)
                .busy_timeout(BUSY_TIMEOUT)
                .pragma("query_only", "ON")
        });
    options
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_lock_ends_with_its_value_though_another_process_has_a_copy_of_the_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alcove.db");
        let held = lock(&path).unwrap();
        let _copy = held.0.try_clone().unwrap();
        assert!(lock(&path).is_err(), "the control");
        drop(held);
        lock(&path).unwrap();
    }
}
