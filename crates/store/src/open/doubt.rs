//! Commits of which nobody knows whether they are there.
//!
//! When the connection to PostgreSQL ends between a COMMIT and its answer, the transaction may have been written or not.
//! What this process remembers may be older than what the store has then, and whatever it did next might contradict it. So
//! it writes nothing any more, and ends: the next start reads what is there. SQLite is in this process and always answers.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr, RuntimeErr};
use tokio::sync::watch;

use crate::StoreError;

/// How long an answer to COMMIT may take. A connection that breaks without a word is noticed by nothing else for a quarter
/// of an hour.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Codes of PostgreSQL that come with the end of a connection, and do not tell of the transaction: an administrator ended
/// it, another backend crashed, the server does not take connections, the database was dropped, it idled, and the code that
/// says just this.
const ENDS: [&str; 6] = ["57P01", "57P02", "57P03", "57P04", "57P05", "40003"];
/// All codes of connections that broke begin with this.
const BROKEN: &str = "08";

/// Whether there was such a commit. Clones are the same one.
#[derive(Clone)]
pub(super) struct Doubt(Arc<watch::Sender<bool>>);

impl Doubt {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn is_there(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when there is one.
    pub async fn comes(&self) {
        // The sender is borrowed here, so it is there.
        let _ = self.0.subscribe().wait_for(|is_there| *is_there).await;
    }

    /// # Errors
    /// [`StoreError::Stopped`] if there is one.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.is_there() {
            return Err(StoreError::Stopped);
        }
        Ok(())
    }

    /// Ends a transaction.
    ///
    /// # Errors
    /// [`StoreError::Write`] if nothing of it stays, [`StoreError::InDoubt`] if that is not known.
    pub async fn commit(&self, transaction: DatabaseTransaction) -> Result<(), StoreError> {
        self.check()?;
        let what = "the end of a transaction";
        if transaction.get_database_backend() != DbBackend::Postgres {
            return transaction.commit().await.map_err(StoreError::write(what));
        }
        let error = match tokio::time::timeout(ANSWER_TIMEOUT, transaction.commit()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => DbErr::Conn(RuntimeErr::Internal(
                "the database does not answer".to_owned(),
            )),
        };
        if is_refusal(&error) {
            return Err(StoreError::write(what)(error));
        }
        tracing::error!(
            %error,
            "the database did not say whether it has what was written last, so nothing more is written"
        );
        self.0.send_replace(true);
        Err(StoreError::InDoubt { source: error })
    }
}

/// Whether PostgreSQL itself says that it does not commit.
fn is_refusal(error: &DbErr) -> bool {
    let (DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) = error else {
        return false;
    };
    let RuntimeErr::SqlxError(error) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| !code.starts_with(BROKEN) && !ENDS.contains(&&*code))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;
    use std::io;

    use sea_orm::SqlxError;
    use sea_orm::sqlx::error::ErrorKind;

    use super::*;

    #[derive(Debug)]
    struct Told(&'static str);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {}

    impl DatabaseError for Told {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn failed(error: SqlxError) -> DbErr {
        DbErr::Query(RuntimeErr::SqlxError(error.into()))
    }

    #[test]
    fn what_the_database_refuses_to_commit_is_not_there() {
        // A constraint that is checked at the end, a serialization failure, a full disk.
        for code in ["23503", "40001", "53100"] {
            let error = failed(SqlxError::Database(Box::new(Told(code))));
            assert!(is_refusal(&error), "{code}");
        }
    }

    #[test]
    fn a_connection_that_ends_at_a_commit_leaves_it_in_doubt() {
        for code in ["57P01", "57P02", "08006", "08003", "40003"] {
            let error = failed(SqlxError::Database(Box::new(Told(code))));
            assert!(!is_refusal(&error), "{code}");
        }
        for error in [
            SqlxError::Io(io::ErrorKind::UnexpectedEof.into()),
            SqlxError::Io(io::ErrorKind::ConnectionReset.into()),
            SqlxError::Protocol("half of a message".to_owned()),
            SqlxError::WorkerCrashed,
        ] {
            let error = failed(error);
            assert!(!is_refusal(&error), "{error}");
        }
        let silent = DbErr::Conn(RuntimeErr::Internal("no answer".to_owned()));
        assert!(!is_refusal(&silent));
    }
}
