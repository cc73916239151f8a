//! What can go wrong between us and the database.

use std::path::PathBuf;

use alcove_domain::{HostIsPromised, QuotaExceeded};
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("cannot lock {path}: is another server using the same data folder?")]
    Lock {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot open the database {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: DbErr,
    },
    #[error("cannot connect to the database")]
    Connect {
        #[source]
        source: DbErr,
    },
    #[error("another server uses this database")]
    InUse,
    #[error("something was written to this database already")]
    NotEmpty,
    #[error("cannot bring the schema up to date")]
    Migrate {
        #[source]
        source: DbErr,
    },
    /// The driver failed while we read.
    #[error("cannot read {what}")]
    Read {
        what: &'static str,
        #[source]
        source: DbErr,
    },
    /// The driver failed while we wrote; nothing of the transaction stays.
    #[error("cannot write {what}")]
    Write {
        what: &'static str,
        #[source]
        source: DbErr,
    },
    /// The connection to PostgreSQL ended between a commit and its answer: whether all of the transaction is there or nothing
    /// is not known before somebody looks. Nobody may go on as if nothing had been written. The process is to end; see
    /// [`Store::in_doubt`](crate::Store::in_doubt).
    #[error("the database did not say whether a transaction is written")]
    InDoubt {
        #[source]
        source: DbErr,
    },
    /// A transaction before this one is [in doubt](Self::InDoubt). Nothing of this one is written.
    #[error("nothing is written any more: the server is about to end")]
    Stopped,
    /// A live sandbox, snapshot or volume of the organization has this name already.
    #[error("the name is taken")]
    NameTaken,
    /// There is no such organization, or it is being deleted.
    #[error("the organization is gone")]
    OrganizationClosed,
    /// More than the organization may have.
    #[error(transparent)]
    OverQuota(QuotaExceeded),
    /// More than the server's host may promise.
    #[error(transparent)]
    HostIsPromised(HostIsPromised),
    /// The row is not the one that was read: someone else wrote it since.
    #[error("{what} was changed since it was read")]
    Changed { what: &'static str },
    /// A row holds what this version does not understand.
    #[error("column {column} of {table} holds {value:?}")]
    Inconsistent {
        table: &'static str,
        column: &'static str,
        value: String,
    },
}

/// The databases' words for a full disk: SQLite's `SQLITE_FULL`, PostgreSQL's `disk_full`.
const DISK_FULL: [&str; 2] = ["13", "53100"];

impl StoreError {
    /// Whether the database has no room left. Nothing is wrong with it: it works again when there is.
    pub fn is_disk_full(&self) -> bool {
        let (Self::Read { source, .. } | Self::Write { source, .. }) = self else {
            return false;
        };
        let (DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) = source else {
            return false;
        };
        let RuntimeErr::SqlxError(error) = error else {
            return false;
        };
        let code = error.as_database_error().and_then(DatabaseError::code);
        code.is_some_and(|code| DISK_FULL.contains(&&*code))
    }

    pub(crate) fn read(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |source| Self::Read { what, source }
    }

    pub(crate) fn write(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |source| Self::Write { what, source }
    }
}
