//! A way to PostgreSQL on which an answer can be lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// What PostgreSQL calls its socket within a folder.
const SOCKET: &str = ".s.PGSQL.5432";
/// As the client says it, the zero of its end included.
const COMMIT: &[u8] = b"COMMIT\0";

/// Stands between a client and its database, within the runtime of the test.
#[derive(Debug)]
pub struct LossyPostgres {
    _folder: TempDir,
    url: String,
    loses_commit: Arc<AtomicBool>,
}

impl LossyPostgres {
    /// Stands in front of the database of this URL, which is one of [`crate::Postgres`].
    pub fn start(url: &str) -> Self {
        let (server, name) = url
            .strip_prefix("postgres://alcove@")
            .and_then(|rest| rest.split_once('/'))
            .expect("a URL of ours");
        let server = Path::new(&server.replace("%2F", "/")).join(SOCKET);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("a socket");
        let host = folder.path().display().to_string().replace('/', "%2F");
        let loses_commit = Arc::new(AtomicBool::new(false));
        let loses = Arc::clone(&loses_commit);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.expect("PostgreSQL");
                connections.spawn(carry(client, server, Arc::clone(&loses)));
            }
        });
        Self {
            _folder: folder,
            url: format!("postgres://alcove@{host}/{name}"),
            loses_commit,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next COMMIT is done, and its connection ends in place of the answer.
    pub fn lose_next_commit(&self) {
        self.loses_commit.store(true, Ordering::SeqCst);
    }
}

async fn carry(mut client: UnixStream, mut server: UnixStream, loses: Arc<AtomicBool>) {
    let (mut asked, mut answered) = ([0; 8192], [0; 8192]);
    loop {
        let carried = tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let asked = &asked[..length];
                let is_commit = asked.windows(COMMIT.len()).any(|part| part == COMMIT);
                let sent = server.write_all(asked).await;
                if is_commit && loses.swap(false, Ordering::SeqCst) {
                    // Once it has answered it is written.
                    let _ = server.read(&mut answered).await;
                    return;
                }
                sent
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                client.write_all(&answered[..length]).await
            }
        };
        if carried.is_err() {
            return;
        }
    }
}
