//! Standard input and output: one client, which started this process.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::thread;

use alcove_actions::{Api, Room};
use rmcp::ServiceExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Handle;

use crate::tools::Tools;

/// What is between the client's pace and ours.
const PIPE_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    #[error("the client did not begin as the protocol has it")]
    Begin(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the conversation broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves until the client closes its end.
pub async fn serve_stdio(api: Arc<dyn Api>) -> Result<(), StdioError> {
    let (from_client, input) = duplex(PIPE_BYTES);
    let (to_client, output) = duplex(PIPE_BYTES);
    let runtime = Handle::current();
    // Threads, since what blocks in a read of a terminal or a pipe cannot be called off. This one ends with the process.
    thread::spawn(move || read_input(&runtime, from_client));
    let runtime = Handle::current();
    let writer = thread::spawn(move || write_output(&runtime, to_client));
    let serving = Tools::new(api, Room::default(), None)
        .serve((input, output))
        .await
        .map_err(|error| StdioError::Begin(error.into()))?;
    serving
        .waiting()
        .await
        .map_err(|error| StdioError::Broken(error.into()))?;
    // What was answered last is still on its way.
    let written = tokio::task::spawn_blocking(move || writer.join()).await;
    match written {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(StdioError::Broken(error.into())),
        Ok(Err(_)) | Err(_) => Err(StdioError::Broken("the writer ended".into())),
    }
}

/// Hands on what the client sends, until it has no more or nobody wants it.
fn read_input(runtime: &Handle, mut pipe: DuplexStream) {
    let mut piece = vec![0; PIPE_BYTES];
    let mut stdin = io::stdin().lock();
    while let Ok(length @ 1..) = stdin.read(&mut piece) {
        if runtime.block_on(pipe.write_all(&piece[..length])).is_err() {
            return;
        }
    }
}

/// Hands on what is answered, until there is no more.
fn write_output(runtime: &Handle, mut pipe: DuplexStream) -> io::Result<()> {
    let mut piece = vec![0; PIPE_BYTES];
    let mut stdout = io::stdout().lock();
    loop {
        let length = runtime.block_on(pipe.read(&mut piece))?;
        if length == 0 {
            return Ok(());
        }
        stdout.write_all(&piece[..length])?;
        stdout.flush()?;
    }
}
