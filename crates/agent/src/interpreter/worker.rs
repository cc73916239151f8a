//! The process behind a context, and the descriptors that lead to it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::agent::Agent;
use crate::interpreter::frame::{Broken, Event, take_event};
use crate::interpreter::language::Language;
use crate::interpreter::output::Output;
use crate::process::execute::memory_file;
use crate::process::job::Members;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program, c_path};
use crate::sys::{ExitStatus, SpawnStage};

/// Room for one read of events.
const EVENT_READ_BYTES: usize = 4 << 10;

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}: not found in this sandbox")]
    NoProgram(&'static str),
    #[error("cannot change to {path}: {source}")]
    WorkDir { path: String, source: io::Error },
    #[error("cannot start {program}: {source}")]
    Start {
        program: &'static str,
        source: io::Error,
    },
}

/// A running worker. Dropping it leaves the process alone; see [`Worker::members`].
#[derive(Debug)]
pub struct Worker {
    pub child: Child,
    pub orders: pipe::Sender,
    pub events: Events,
    pub stdout: Output,
    pub stderr: Output,
}

impl Worker {
    /// Starts it. It reads its script and then orders; nothing waits for that.
    ///
    /// # Errors
    /// The sandbox has no program for the language, there is no such folder, or the system refuses.
    pub fn start(agent: &Agent, language: Language, cwd: &Path) -> Result<Self, StartError> {
        let missing = || StartError::NoProgram(language.program());
        let recipe = language
            .recipe(&agent.home.search_path())
            .ok_or_else(missing)?;
        let failed = |source: io::Error| StartError::Start {
            program: language.program(),
            source,
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()));
        let (orders_in, orders) = pipe()?;
        let (events, events_out) = pipe()?;
        let (stdout, stdout_in) = pipe()?;
        let (stderr, stderr_in) = pipe()?;
        let script = memory_file(recipe.script.as_bytes()).map_err(failed)?;
        let program = Program {
            path: recipe.path,
            argv: recipe.argv,
            env: &agent.home.env,
            extra_env: EnvBlock::default(),
            cwd: c_path(cwd).map_err(|error| failed(error.into()))?,
            stdin: agent.null.as_fd(),
            stdout: stdout_in.as_fd(),
            stderr: stderr_in.as_fd(),
            passed: &[orders_in.as_fd(), events_out.as_fd(), script.as_fd()],
            is_terminal: false,
            tag: agent.tags.next(),
        };
        // Before the start: nothing may fail behind it.
        let orders = pipe::Sender::from_owned_fd(orders).map_err(failed)?;
        let events = Events::new(events).map_err(failed)?;
        let stdout = Output::new(stdout, "stdout").map_err(failed)?;
        let stderr = Output::new(stderr, "stderr").map_err(failed)?;
        let child = agent.children.spawn(&program).map_err(|failure| {
            if matches!(failure.stage, SpawnStage::WorkDir) {
                let path = cwd.display().to_string();
                let source = failure.error;
                return StartError::WorkDir { path, source };
            }
            failed(failure.error)
        })?;
        Ok(Self {
            child,
            orders,
            events,
            stdout,
            stderr,
        })
    }

    /// Drops what was said while nobody listened.
    pub fn forget_output(&mut self) {
        for output in [&mut self.stdout, &mut self.stderr] {
            let mut left = output.pipe_bytes();
            while left > 0 && output.read_now() {
                left = left.saturating_sub(output.pending());
                output.discard();
            }
            output.discard();
        }
    }

    /// To be asked once: the answer that it has exited is taken with it.
    pub fn has_exited(&mut self) -> bool {
        self.child.try_exited().is_some()
    }

    /// The worker and all that it started.
    pub fn members(&self) -> Members {
        Members::of(self.child.tag, self.child.pid)
    }

    /// Sends SIGINT to the worker and what it runs, as a terminal would. Not to the number of a process that is
    /// already reaped.
    pub fn interrupt(&mut self) -> Option<ExitStatus> {
        let exited = self.child.try_exited();
        if exited.is_none()
            && let Some(pid) = Pid::from_raw(self.child.pid)
        {
            // Reaping happens on this thread only, so the number still is the child's.
            let _ = kill_process_group(pid, Signal::INT);
        }
        exited
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    reader: pipe::Receiver,
    buffer: Vec<u8>,
}

impl Events {
    fn new(reader: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            reader: pipe::Receiver::from_owned_fd(reader)?,
            buffer: Vec::new(),
        })
    }

    /// The next event. Safe to drop and call again. Never resolves when there are no more: the process is about to
    /// exit, or has closed the descriptor to go on without us.
    ///
    /// # Errors
    /// What came is no event.
    pub async fn next(&mut self) -> Result<Event, Broken> {
        loop {
            if let Some(event) = take_event(&mut self.buffer)? {
                if self.buffer.is_empty() {
                    self.buffer = Vec::new();
                }
                return Ok(event);
            }
            self.buffer.reserve(EVENT_READ_BYTES);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => std::future::pending().await,
            }
        }
    }
}

/// How a worker's end is told.
pub fn describe_exit(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("the interpreter process exited with code {code}"),
        ExitStatus::Signal(9) => {
            "the interpreter process was killed (SIGKILL), as happens when memory runs out"
                .to_owned()
        }
        ExitStatus::Signal(11) => "the interpreter process crashed (SIGSEGV)".to_owned(),
        ExitStatus::Signal(6) => "the interpreter process aborted (SIGABRT)".to_owned(),
        ExitStatus::Signal(signal) => {
            format!("the interpreter process was ended by signal {signal}")
        }
    }
}
