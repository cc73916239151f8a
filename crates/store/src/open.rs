//! Opening the database; readers and the writer as types of their own.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::{Connection as _, SqliteConnection};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode,
    SqlxError, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use crate::StoreError;
use crate::migration::Migrator;

/// Readers beside each other. Four keep two cores busy while one waits for the disk.
const READERS: u32 = 4;
/// How long a statement waits for a lock that another process holds, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for its turn to write or read.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// The database of one data folder. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    writer: DatabaseConnection,
    reader: Reader,
    /// Held as long as any clone lives: a second server on the same folder must not start.
    _lock: Arc<File>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Reads, beside the writer and beside each other. The connections are opened read-only.
#[derive(Clone)]
pub struct Reader {
    pub(crate) connection: DatabaseConnection,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// One transaction. Dropped without [`Tx::commit`], it leaves nothing behind.
pub struct Tx {
    pub(crate) transaction: DatabaseTransaction,
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the SQLite database at `path`, making it if it is not there, and brings its schema up to
    /// date.
    ///
    /// # Errors
    /// [`StoreError::Lock`] if another process has it open.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let failed = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let writer = Database::connect(writer_options(path))
            .await
            .map_err(failed)?;
        Migrator::up(&writer, None)
            .await
            .map_err(|source| StoreError::Migrate { source })?;
        let connection = Database::connect(reader_options(path))
            .await
            .map_err(failed)?;
        Ok(Self {
            writer,
            reader: Reader { connection },
            _lock: Arc::new(lock),
        })
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Waits for the turn to write. Keep it short: everyone else waits meanwhile.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        // A deferred transaction would fail at its first write, whatever the busy timeout, if another
        // process had written since its first read.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self
            .writer
            .begin_with_options(options)
            .await
            .map_err(StoreError::write("the beginning of a transaction"))?;
        Ok(Tx { transaction })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> bool {
        self.reader.connection.ping().await.is_ok()
    }

    /// Closes the connections; the write-ahead log goes into the database file.
    pub async fn close(&self) {
        for connection in [&self.reader.connection, &self.writer] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "cannot close a database connection");
            }
        }
    }
}

impl Tx {
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction
            .commit()
            .await
            .map_err(StoreError::write("the end of a transaction"))
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
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
    Ok(file)
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

    use sea_orm::{ConnectionTrait, Statement};

    use super::*;

    /// A migration is code, and released code must not change: what it makes is frozen here.
    #[tokio::test]
    async fn the_schema_is_as_released() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("alcove.db")).await.unwrap();
        let query = Statement::from_string(
            store.writer.get_database_backend(),
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' \
             AND name NOT LIKE 'seaql_%' ORDER BY tbl_name, type DESC, name",
        );
        let rows = store.writer.query_all_raw(query).await.unwrap();
        let schema: Vec<String> = rows
            .iter()
            .map(|row| row.try_get_by_index::<String>(0).unwrap())
            .collect();
        insta::assert_snapshot!(schema.join("\n").replace(", \"", ",\n  \""));
    }

    #[tokio::test]
    async fn the_writer_syncs_every_commit_and_the_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("alcove.db")).await.unwrap();
        let pragma = async |name: &str| {
            let query = Statement::from_string(
                store.writer.get_database_backend(),
                format!("PRAGMA {name}"),
            );
            let row = store.writer.query_one_raw(query).await.unwrap().unwrap();
            row.try_get_by_index::<String>(0)
                .or_else(|_| row.try_get_by_index::<i64>(0).map(|n| n.to_string()))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode").await, "wal");
        assert_eq!(pragma("synchronous").await, "2");
        let write = "CREATE TABLE t (x text)";
        assert!(
            store
                .reader
                .connection
                .execute_unprepared(write)
                .await
                .is_err()
        );
    }
}
