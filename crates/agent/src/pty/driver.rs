//! The task that moves a terminal's output and input for as long as its shell lives.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::PtyExit;
use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::process::reaper::Child;
use crate::pty::device::{HUNG_UP_INTERVAL, Master};
use crate::pty::output::{End, Output, PIECE_BYTES};
use crate::sys::ExitStatus;

/// More than the kernel holds of a terminal's output. What comes after the shell's exit beyond this is a background
/// process that goes on, and no longer of the terminal.
const KERNEL_BYTES: usize = 256 << 10;

/// Silence after the shell's exit by which we know that a background process only keeps the terminal open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// All that a running shell needs.
#[derive(Debug)]
pub struct Driver {
    pub child: Child,
    pub master: Arc<Master>,
    pub input: mpsc::Receiver<Bytes>,
    pub output: Arc<Output>,
    pub is_stopping: watch::Receiver<bool>,
}

impl Driver {
    /// Drives the shell to its end. Input that comes later is nobody's.
    pub async fn drive(mut self) -> End {
        let mut is_stopping = self.is_stopping.clone();
        tokio::select! {
            status = self.run() => End::Exited(PtyExit::new(status.shell_code())),
            // Nobody will read what is still to come. Our side is closed next, which tells the shell.
            _ = is_stopping.wait_for(|stopping| *stopping) => End::Stopping,
        }
    }

    async fn run(&mut self) -> ExitStatus {
        let Self {
            child,
            master,
            input,
            output,
            ..
        } = self;
        let mut buffer = Vec::with_capacity(PIECE_BYTES);
        let mut waiting = Bytes::new();
        let mut is_open = true;
        let status = loop {
            tokio::select! {
                read = read(master, output, &mut buffer), if is_open => is_open = read.is_ok(),
                () = sleep(HUNG_UP_INTERVAL), if !is_open => is_open = true,
                Some(more) = input.recv(), if waiting.is_empty() => waiting = more,
                written = master.write(&waiting), if !waiting.is_empty() => match written {
                    Ok(count) => waiting.advance(count),
                    Err(_) => waiting.clear(),
                },
                status = child.exited() => break status,
            }
        };
        let mut left = KERNEL_BYTES;
        while left > 0 {
            output.room().await;
            match timeout(LAST_WORDS, read(master, output, &mut buffer)).await {
                Ok(Ok(count)) => left = left.saturating_sub(count),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        status
    }
}

/// Reads when the output has room. Nothing read is lost when this is dropped.
async fn read(master: &Master, output: &Output, buffer: &mut Vec<u8>) -> io::Result<usize> {
    output.room().await;
    buffer.clear();
    master.read(buffer).await?;
    output.append(buffer);
    Ok(buffer.len())
}
