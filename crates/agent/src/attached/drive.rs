//! The task that carries bytes between a program and whoever is attached to it.
//!
//! Every buffer has a bound. Output is read while there is room for it on the way out; input is taken off the
//! connection as far as its window lets it come, so that orders behind it are never held up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{
    PieceError, RUN_PIECE_BYTES, RUN_WINDOW_BYTES, RunEnd, RunOrder, RunRequest, RunSaid,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::Agent;
use crate::attached::running::{Input, Running, Source, signal_of};
use crate::pty::device::HUNG_UP_INTERVAL;
use crate::sys::ExitStatus;

/// One read of a program's output.
const READ_BYTES: usize = 32 << 10;
/// Bytes on the way out beyond which no output is read.
const OUT_BYTES: usize = 64 << 10;
/// Silence of a terminal after its program's exit by which we know that a background process only keeps it open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// What a program gets to end by itself once it was hung up on.
const HANG_UP_GRACE: Duration = Duration::from_secs(10);
/// What a terminal may still say after its program's exit.
const LAST_BYTES: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error("the other side went away")]
    Gone(#[from] io::Error),
    #[error(transparent)]
    Piece(#[from] PieceError),
    #[error("more input than the window takes, or an order out of place")]
    Order,
}

/// Starts what the other side orders and carries its bytes to the end of it, or of the connection.
pub async fn drive<S: AsyncRead + AsyncWrite + Unpin>(agent: Arc<Agent>, mut stream: S) {
    let mut incoming = Vec::new();
    let driven = async {
        let (command, request) = first_orders(&mut stream, &mut incoming).await?;
        match Running::start(&agent, command, &request) {
            Ok(running) => {
                let mut wire = Wire {
                    running,
                    exit: None,
                    incoming,
                    pending: Vec::new(),
                    is_ending: false,
                    taken: 0,
                    out: Vec::new(),
                };
                let carried = wire.carry(&mut stream).await;
                if carried.is_err() {
                    wire.hang_up().await;
                }
                carried
            }
            Err(reason) => {
                let mut out = Vec::new();
                RunSaid::End(RunEnd::NotStarted(reason)).encode(&mut out);
                stream.write_all(&out).await?;
                stream.shutdown().await?;
                Ok(())
            }
        }
    };
    // How it ended is for the other side to know; when the agent ends, everything here does.
    tokio::select! {
        _ = driven => {}
        () = agent.stopping() => {}
    }
}

async fn first_orders<S: AsyncRead + Unpin>(
    stream: &mut S,
    incoming: &mut Vec<u8>,
) -> Result<(Option<Vec<u8>>, RunRequest), DriveError> {
    let mut command = None;
    loop {
        match RunOrder::take(incoming)? {
            Some(RunOrder::Command(bytes)) if command.is_none() => command = Some(bytes),
            Some(RunOrder::Start(request)) => return Ok((command, request)),
            Some(_) => return Err(DriveError::Order),
            None => read_more(stream, incoming).await?,
        }
    }
}

async fn read_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    incoming: &mut Vec<u8>,
) -> Result<(), DriveError> {
    incoming.reserve(READ_BYTES);
    match stream.read_buf(incoming).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        _ => Ok(()),
    }
}

struct Wire {
    running: Running,
    exit: Option<ExitStatus>,
    /// Of the connection, not looked at yet.
    incoming: Vec<u8>,
    /// Input that the program has not read.
    pending: Vec<u8>,
    /// No more input comes.
    is_ending: bool,
    /// Input that went where it belongs, and of which the other side is not told yet.
    taken: usize,
    /// On its way out.
    out: Vec<u8>,
}

impl Wire {
    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<(), DriveError> {
        let (mut reader, mut writer) = split(stream);
        let mut output = Vec::new();
        let mut errors = Vec::new();
        let mut is_hung_up = false;
        let mut quiet_at = Instant::now();
        let mut last_bytes = LAST_BYTES;
        self.obey()?;
        loop {
            if let Some(status) = self.exit
                && self.is_over(quiet_at, last_bytes)
                && self.out.len() < OUT_BYTES
            {
                let end = match status {
                    ExitStatus::Code(code) => RunEnd::Code(code),
                    ExitStatus::Signal(signal) => RunEnd::Signal(signal),
                };
                RunSaid::End(end).encode(&mut self.out);
                writer.write_all(&self.out).await?;
                writer.shutdown().await?;
                return Ok(());
            }
            self.tell_taken();
            let has_room = self.out.len() < OUT_BYTES;
            if has_room {
                output.reserve(READ_BYTES);
                if !self.running.errors.has_ended() {
                    errors.reserve(READ_BYTES);
                }
            }
            let is_terminal = self.running.terminal.is_some();
            let has_exited = self.exit.is_some();
            let Running {
                child,
                input,
                output: said,
                errors: complained,
                ..
            } = &mut self.running;
            tokio::select! {
                read = read_more(&mut reader, &mut self.incoming) => {
                    read?;
                    self.obey()?;
                }
                written = writer.write(&self.out), if !self.out.is_empty() => {
                    self.out.drain(..written?);
                }
                written = input.write(&self.pending), if !self.pending.is_empty() => {
                    // A program that closed its input lets the rest go nowhere, as a pipe does.
                    let count = written.unwrap_or(self.pending.len());
                    self.pending.drain(..count);
                    self.taken += count;
                    self.end_input();
                }
                read = said.read(&mut output), if has_room && !is_hung_up => match read {
                    Ok(()) => {
                        quiet_at = Instant::now() + LAST_WORDS;
                        last_bytes = last_bytes.saturating_sub(if has_exited { output.len() } else { 0 });
                        RunSaid::Output(std::mem::take(&mut output)).encode(&mut self.out);
                    }
                    // Another program may open the terminal.
                    Err(_) if is_terminal => is_hung_up = true,
                    Err(_) => *said = Source::Ended,
                },
                () = sleep(HUNG_UP_INTERVAL), if is_hung_up && !has_exited => is_hung_up = false,
                read = complained.read(&mut errors), if has_room => match read {
                    Ok(()) => RunSaid::Errors(std::mem::take(&mut errors)).encode(&mut self.out),
                    Err(_) => *complained = Source::Ended,
                },
                status = child.exited(), if !has_exited => {
                    self.exit = Some(status);
                    quiet_at = Instant::now() + LAST_WORDS;
                }
                () = sleep_until(quiet_at), if has_exited && is_terminal && has_room => {}
            }
        }
    }

    /// Whether nothing more comes of a program that has exited: on a terminal, when that falls silent; else when all who
    /// hold its output have closed it.
    fn is_over(&self, quiet_at: Instant, last_bytes: usize) -> bool {
        if self.running.terminal.is_some() {
            last_bytes == 0 || Instant::now() >= quiet_at
        } else {
            self.running.output.has_ended() && self.running.errors.has_ended()
        }
    }

    fn obey(&mut self) -> Result<(), DriveError> {
        while let Some(order) = RunOrder::take(&mut self.incoming)? {
            match order {
                RunOrder::Input(bytes) => {
                    if self.is_ending || self.pending.len() + bytes.len() > RUN_WINDOW_BYTES {
                        return Err(DriveError::Order);
                    }
                    self.pending.extend_from_slice(&bytes);
                }
                RunOrder::InputEnd => {
                    self.is_ending = true;
                    self.end_input();
                }
                RunOrder::Resize(size) => self.running.resize(size),
                RunOrder::Signal(name) => {
                    if let Some(signal) = signal_of(&name) {
                        self.signal(signal);
                    }
                }
                RunOrder::Command(_) | RunOrder::Start(_) => return Err(DriveError::Order),
            }
        }
        Ok(())
    }

    /// Sends a signal to the program's group: on a terminal, to the one in the foreground.
    fn signal(&self, signal: Signal) {
        let foreground = self.running.terminal.as_ref();
        let foreground = foreground.and_then(|master| master.foreground().ok());
        // Once it has exited, its number may be somebody else's.
        let own = || Pid::from_raw(self.running.child.pid).filter(|_| self.exit.is_none());
        if let Some(group) = foreground.or_else(own) {
            // Gone is as good as signalled.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Tells the program that nobody is there any more. A program without a terminal gets a while to end by itself: what it
    /// still says is read, since a pipe that nobody reads would kill it before it has put its things away.
    async fn hang_up(mut self) {
        self.signal(Signal::HUP);
        self.signal(Signal::CONT);
        let Self { running, exit, .. } = &mut self;
        if exit.is_some() || running.terminal.is_some() {
            return;
        }
        running.input = Input::Closed;
        let Running {
            child,
            output,
            errors,
            ..
        } = running;
        let discard = async { tokio::join!(discard(output), discard(errors)) };
        tokio::select! {
            _ = discard => {}
            _ = child.exited() => {}
            () = sleep(HANG_UP_GRACE) => {}
        }
    }

    /// Ends the program's input once all that came before has gone there.
    fn end_input(&mut self) {
        if self.is_ending && self.pending.is_empty() {
            let last = self.running.input.end();
            // Once only: it is taken as input like any other, and the window has room for it.
            if !last.is_empty() {
                self.pending.extend_from_slice(last);
                self.is_ending = false;
            }
        }
    }

    fn tell_taken(&mut self) {
        if self.taken > 0 && self.out.len() < OUT_BYTES {
            let count = u32::try_from(self.taken).unwrap_or(u32::MAX);
            RunSaid::Taken(count).encode(&mut self.out);
            self.taken = 0;
        }
    }
}

/// Reads to the end, for the sake of who writes.
async fn discard(source: &mut Source) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    while !source.has_ended() && source.read(&mut buffer).await.is_ok() {
        buffer.clear();
    }
}

// What is read at once fits into a piece.
const _: () = assert!(READ_BYTES * 2 <= RUN_PIECE_BYTES);
