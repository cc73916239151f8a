//! What can go wrong between us and the database.

use std::path::PathBuf;

use sea_orm::DbErr;

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
    /// A live sandbox of the organization has this name already.
    #[error("the name is taken")]
    NameTaken,
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

impl StoreError {
    pub(crate) fn read(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |source| Self::Read { what, source }
    }

    pub(crate) fn write(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |source| Self::Write { what, source }
    }
}
