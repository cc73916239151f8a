//! Opening the database; readers and the writer as types of their own.

mod doubt;
mod postgres;
mod sqlite;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use self::doubt::Doubt;
use crate::StoreError;
use crate::audit::{self, Deed};
use crate::migration::Migrator;

/// Readers beside each other. Four keep two cores busy while one waits for the disk.
const READERS: u32 = 4;
/// How long a caller waits for its turn to write or read.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// The database of one server. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    writer: DatabaseConnection,
    reader: Reader,
    /// Held as long as any clone lives: a second server on the same folder must not start. PostgreSQL keeps a
    /// second one off by itself.
    _lock: Option<Arc<sqlite::Lock>>,
    doubt: Doubt,
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
    /// The last sequence that was written to the outbox; 0 for none.
    pub(crate) appended: AtomicI64,
    /// The action that this is part of.
    deed: Option<Arc<Deed>>,
    doubt: Doubt,
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
        let lock = sqlite::lock(path)?;
        let writer = sqlite::writer(path).await?;
        migrate(&writer).await?;
        let connection = sqlite::readers(path).await?;
        Ok(Self {
            writer,
            reader: Reader { connection },
            _lock: Some(Arc::new(lock)),
            doubt: Doubt::new(),
        })
    }

    /// Connects to the PostgreSQL database that a URL names (`postgres://user@host/database`, and what else
    /// that scheme knows), and brings its schema up to date. The database itself must be there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another server writes to it, [`StoreError::Connect`] if it does not answer.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = postgres::parse(url)?;
        let writer = postgres::writer(&options).await?;
        migrate(&writer).await?;
        let connection = postgres::readers(&options).await?;
        Ok(Self {
            writer,
            reader: Reader { connection },
            _lock: None,
            doubt: Doubt::new(),
        })
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// Whether a commit is [in doubt](StoreError::InDoubt). Nothing is written from then on, and the process is to end.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_there()
    }

    /// Resolves when a commit is [in doubt](StoreError::InDoubt).
    pub async fn in_doubt(&self) {
        self.doubt.comes().await;
    }

    /// Waits for the turn to write. Keep it short: everyone else waits meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] once a commit was in doubt.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.doubt.check()?;
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
        // It may have come while we waited.
        self.doubt.check()?;
        Ok(Tx {
            transaction,
            appended: AtomicI64::new(0),
            deed: Deed::current(),
            doubt: self.doubt.clone(),
        })
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

impl Reader {
    /// Opens the SQLite database at `path` to read from it only, beside the server that may have it open. The schema is
    /// left as it is.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = sqlite::readers(path).await?;
        Ok(Self { connection })
    }

    /// The same for the PostgreSQL database that a URL names.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = postgres::parse(url)?;
        let connection = postgres::readers(&options).await?;
        Ok(Self { connection })
    }
}

impl Tx {
    /// # Errors
    /// [`StoreError::InDoubt`] if it is not known whether it is written, any other if it is not.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.commit_events().await.map(drop)
    }

    /// As [`Tx::commit`]. The answer is the last sequence that was written to the outbox, if there is one.
    pub async fn commit_events(self) -> Result<Option<i64>, StoreError> {
        // An action has one row: the first of its transactions writes it.
        let claimed = self
            .deed
            .as_ref()
            .and_then(|deed| Some((deed, deed.claim()?)));
        let ended = match claimed {
            None => self.doubt.commit(self.transaction).await,
            Some((deed, entry)) => {
                let ended = match audit::append(&self.transaction, vec![entry]).await {
                    Ok(()) => self.doubt.commit(self.transaction).await,
                    Err(error) => Err(StoreError::write("the end of a transaction")(error)),
                };
                if ended.is_err() {
                    deed.give_back();
                }
                ended
            }
        };
        ended?;
        Ok(Some(self.appended.into_inner()).filter(|sequence| *sequence > 0))
    }

    /// Leaves the row of the action to another transaction: this one only stands beside it.
    #[must_use]
    pub fn beside_the_action(mut self) -> Self {
        self.deed = None;
        self
    }

    /// Says what the action makes.
    pub(crate) fn note_made(&self, kind: &str, id: &str) {
        if let Some(deed) = &self.deed {
            deed.note_made(kind, id);
        }
    }
}

pub(crate) async fn migrate(writer: &DatabaseConnection) -> Result<(), StoreError> {
    let pending = Migrator::get_pending_migrations(writer).await;
    let pending = pending.map_err(|source| StoreError::Migrate { source })?;
    let Some(newest) = pending.last() else {
        return Ok(());
    };
    Migrator::up(writer, None)
        .await
        .map_err(|source| StoreError::Migrate { source })?;
    tracing::info!(
        applied = pending.len(),
        newest = newest.name(),
        "brought the database up to date"
    );
    Ok(())
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
