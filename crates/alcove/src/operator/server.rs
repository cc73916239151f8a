//! The server's side.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Control, SealingStatus};
use alcove_runner::Runner;
use alcove_store::Store;
use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{LINE_MAX, Order, Place, Reply};
use crate::backup;

/// Connections at the same time; others wait.
const CONNECTIONS: usize = 4;
/// Notes that may wait for a client that does not read.
const NOTES: usize = 64;
/// Until the next connection is taken where that fails.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What orders are carried out with.
#[derive(Debug)]
pub struct Operator {
    pub control: Control,
    pub store: Store,
    pub runner: Runner,
    pub data_dir: PathBuf,
    /// Objects are kept by another store than the data folder.
    pub has_foreign_objects: bool,
}

/// Takes orders until the server stops.
pub async fn serve(operator: Operator, stop: CancellationToken) {
    let place = match open(&operator.data_dir) {
        Ok(place) => place,
        Err(error) => {
            tracing::error!(%error, "cannot open the operator's socket: keys and backups cannot be ordered");
            return;
        }
    };
    let (place, listener) = place;
    let (operator, tasks) = (Arc::new(operator), TaskTracker::new());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection of the operator");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let (operator, stop) = (Arc::clone(&operator), stop.clone());
            tasks.spawn(async move {
                let ended = stop.run_until_cancelled(connection(&operator, stream));
                if let Some(Err(error)) = ended.await {
                    tracing::debug!(%error, "a connection of the operator ended");
                }
                drop(slot);
            });
        }
    };
    stop.run_until_cancelled(accept).await;
    tasks.close();
    tasks.wait().await;
    let _ = fs::remove_file(place.path());
}

fn open(data_dir: &Path) -> io::Result<(Place, UnixListener)> {
    let place = Place::of(data_dir)?;
    // Of a server that was killed: no other one runs here, or this one would not.
    let _ = fs::remove_file(place.path());
    let listener = UnixListener::bind(place.path())?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o600))?;
    Ok((place, listener))
}

async fn connection(operator: &Operator, stream: UnixStream) -> anyhow::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let theirs = stream.peer_cred().context("cannot tell who asks")?.uid();
    anyhow::ensure!(theirs == own || theirs == 0, "user {theirs} may not ask");
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let mut line = String::new();
    (&mut input).take(LINE_MAX).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Order>(&line) {
        Ok(order) => {
            let (notes, mut told) = mpsc::channel(NOTES);
            let carried = carry_out(operator, order, notes);
            tokio::pin!(carried);
            loop {
                tokio::select! {
                    biased;
                    Some(text) = told.recv() => say(&mut output, &Reply::Note { text }).await?,
                    outcome = &mut carried => break outcome,
                    () = left(&mut input) => anyhow::bail!("who asked has left"),
                }
            }
        }
        Err(error) => Err(anyhow::anyhow!("this order makes no sense: {error}")),
    };
    let reply = match reply {
        Ok(text) => Reply::Done { text },
        Err(error) => Reply::Failed {
            reason: format!("{error:#}"),
        },
    };
    say(&mut output, &reply).await
}

/// Waits until the client closes its side; it has nothing more to say.
async fn left(input: &mut BufReader<OwnedReadHalf>) {
    let mut rest = [0; 64];
    while matches!(input.read(&mut rest).await, Ok(count) if count > 0) {}
}

async fn say(output: &mut OwnedWriteHalf, reply: &Reply) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(reply)?;
    line.push('\n');
    Ok(output.write_all(line.as_bytes()).await?)
}

async fn carry_out(
    operator: &Operator,
    order: Order,
    notes: mpsc::Sender<String>,
) -> anyhow::Result<String> {
    match order {
        Order::Keys => {
            let status = operator.control.sealing_status();
            Ok(status.map_or_else(|| "no secrets are sealed".to_owned(), |s| keys_text(&s)))
        }
        Order::BackUp(order) => backup::make(operator, order, notes).await,
        Order::RotateKey => {
            let status = operator.control.rotate_sealing_key().await?;
            let text = format!(
                "key {} seals secrets now; those that there are follow",
                status.current
            );
            let _ = notes.try_send(text);
            operator.control.sealing_settled().await;
            Ok(format!("everything is sealed with key {}", status.current))
        }
    }
}

fn keys_text(status: &SealingStatus) -> String {
    let mut text = format!("key {} seals secrets", status.current);
    for older in &status.older {
        text.push_str("\nkey ");
        text.push_str(older);
        text.push_str(" is needed still");
    }
    text
}
