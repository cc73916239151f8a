//! Moves the output of one command to its log, and its input to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use alcove_agent_api::Stream;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use crate::session::command::{Command, CommandState, Mode};

/// One read at first. Most commands say little.
const SMALL_BUFFER: usize = 4 << 10;

/// One read, and the pipe's size, once a command turns out to say much.
const LARGE_BUFFER: usize = 256 << 10;

/// From here on a write to the log goes to a thread that may block: a disk that is behind must hold up the
/// command and not the agent.
const BLOCKING_BYTES: usize = 16 << 10;

/// Our ends of a command's pipes, open before the shell opens its own.
#[derive(Debug)]
pub struct Pipes {
    stdout: Source,
    stderr: Source,
    stdin: Option<pipe::Sender>,
    /// Held until the command ends, so that our ends do not see the end of the pipe before the shell has opened
    /// it, or between two programs of the command.
    writers: [File; 2],
}

impl Pipes {
    /// # Errors
    /// The named pipes cannot be opened.
    pub fn open(stdout: &Path, stderr: &Path, stdin: Option<&Path>) -> io::Result<Self> {
        let source = |path: &Path| -> io::Result<(Source, File)> {
            let reader = pipe::OpenOptions::new().open_receiver(path)?;
            let writer = File::options().write(true).open(path)?;
            Ok((Source::new(reader), writer))
        };
        let (stdout, out_writer) = source(stdout)?;
        let (stderr, err_writer) = source(stderr)?;
        // For both directions: opening for writing alone fails until someone reads.
        let stdin = stdin.map(|path| pipe::OpenOptions::new().read_write(true).open_sender(path));
        Ok(Self {
            stdout,
            stderr,
            stdin: stdin.transpose()?,
            writers: [out_writer, err_writer],
        })
    }

    /// Of a program that was given the other ends, whose input is at its end: output first, errors second.
    ///
    /// # Errors
    /// They are no pipes.
    pub fn of(readers: [OwnedFd; 2], writers: [OwnedFd; 2]) -> io::Result<Self> {
        let [stdout, stderr] = readers.map(pipe::Receiver::from_owned_fd);
        Ok(Self {
            stdout: Source::new(stdout?),
            stderr: Source::new(stderr?),
            stdin: None,
            writers: writers.map(File::from),
        })
    }
}

/// One output of the command.
#[derive(Debug)]
struct Source {
    reader: pipe::Receiver,
    buffer: Vec<u8>,
    is_open: bool,
}

impl Source {
    fn new(reader: pipe::Receiver) -> Self {
        Self {
            reader,
            buffer: Vec::with_capacity(SMALL_BUFFER),
            is_open: true,
        }
    }

    async fn read(&mut self) {
        let read = self.reader.read_buf(&mut self.buffer).await;
        self.is_open = matches!(read, Ok(count) if count > 0);
    }

    /// Stores what is in the pipe now. A background process may write faster than we read; what comes while we
    /// do no longer counts.
    async fn drain(&mut self, command: &Arc<Command>, stream: Stream) {
        let mut left =
            rustix::pipe::fcntl_getpipe_size(self.reader.as_fd()).unwrap_or(LARGE_BUFFER);
        while left > 0 && self.try_read() {
            left = left.saturating_sub(self.buffer.len());
            self.store(command, stream).await;
        }
    }

    /// Reads once without waiting; whether there was anything.
    fn try_read(&mut self) -> bool {
        if !self.is_open {
            return false;
        }
        match self.reader.try_read_buf(&mut self.buffer) {
            Ok(0) => self.is_open = false,
            Ok(_) => return true,
            Err(error) => self.is_open = error.kind() == io::ErrorKind::WouldBlock,
        }
        false
    }

    async fn store(&mut self, command: &Arc<Command>, stream: Stream) {
        if self.buffer.is_empty() {
            return;
        }
        command.log.room(self.buffer.len()).await;
        if self.buffer.len() < BLOCKING_BYTES {
            command.log.append(stream, &self.buffer);
            if self.buffer.len() == self.buffer.capacity() {
                self.enlarge();
            }
        } else {
            let (log, buffer) = (command.log.clone(), std::mem::take(&mut self.buffer));
            let stored = tokio::task::spawn_blocking(move || {
                log.append(stream, &buffer);
                buffer
            });
            self.buffer = stored
                .await
                .unwrap_or_else(|_| Vec::with_capacity(SMALL_BUFFER));
        }
        self.buffer.clear();
    }

    fn enlarge(&mut self) {
        // Beyond what one user's pipes may hold together this is refused, and the pipe stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(self.reader.as_fd(), LARGE_BUFFER);
        self.buffer.clear();
        self.buffer.reserve_exact(LARGE_BUFFER);
    }
}

/// Runs until nobody holds the other ends any more. `done` brings the exit code.
pub async fn run(
    command: Arc<Command>,
    pipes: Pipes,
    mut input: Option<mpsc::Receiver<Bytes>>,
    mut done: oneshot::Receiver<i32>,
) {
    let Pipes {
        mut stdout,
        mut stderr,
        mut stdin,
        writers,
    } = pipes;
    let mut waiting = Bytes::new();
    let code = loop {
        tokio::select! {
            () = stdout.read(), if stdout.is_open => stdout.store(&command, Stream::Stdout).await,
            () = stderr.read(), if stderr.is_open => stderr.store(&command, Stream::Stderr).await,
            more = next_input(&mut input), if waiting.is_empty() && input.is_some() => match more {
                Some(more) => {
                    if command.mode == (Mode::Async { has_echo: true }) {
                        command.log.append(Stream::Stdout, &more);
                    }
                    waiting = more;
                }
                None => input = None,
            },
            written = write_input(&mut stdin, &waiting), if !waiting.is_empty() => match written {
                Ok(count) => waiting = waiting.slice(count..),
                Err(_) => waiting = Bytes::new(),
            },
            // A driver that is gone has no code to bring.
            code = &mut done => break code.ok(),
        }
    };
    // From here on input calls are told that the command is over, and what it left behind in the background
    // reads the end of its input.
    drop((input, stdin));
    // All that the command itself wrote is in the pipes by now.
    stdout.drain(&command, Stream::Stdout).await;
    stderr.drain(&command, Stream::Stderr).await;
    command.set_state(code.map_or(CommandState::Abandoned, CommandState::Finished));
    drop(writers);
    while stdout.is_open || stderr.is_open {
        // Between two words of a background process no file is held.
        command.log.rest();
        tokio::select! {
            () = stdout.read(), if stdout.is_open => stdout.store(&command, Stream::Stdout).await,
            () = stderr.read(), if stderr.is_open => stderr.store(&command, Stream::Stderr).await,
        }
    }
    command.log.rest();
}

async fn next_input(input: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match input {
        Some(input) => input.recv().await,
        None => None,
    }
}

async fn write_input(stdin: &mut Option<pipe::Sender>, bytes: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(bytes).await,
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
