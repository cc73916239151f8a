//! Git operations: each is a process of the program `alcove-git`, which is started, waited for and cleared up behind.
//!
//! What repositories and servers send is read there and never here: this is process 1, and holds the sandbox's secret.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{ErrorCode, GitFault, GitLine, GitOrder};
use bytes::Bytes;
use futures_util::{Stream, stream};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::agent::Agent;
use crate::process::job::Members;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program};
use crate::sys::ExitStatus;

/// Operations at a time; others wait for their turn.
const MAX_RUNNING: usize = 16;

/// The longest that an operation may take. Large clones over slow lines are in use.
const TIME_LIMIT: Duration = Duration::from_hours(1);

/// From the end of interest in an answer to the end of the helper, in which it can give up cleanly.
const GRACE: Duration = Duration::from_secs(3);

/// Longest line of a helper.
const MAX_LINE: u64 = 256 << 10;

/// Bodies up to here are sent whole, with their length.
const MAX_WHOLE: usize = 256 << 10;

/// What starting helpers takes, once an agent.
#[derive(Debug)]
pub struct Helpers {
    /// By descriptor: it has no name in the sandbox. None where the agent was given none.
    program: Option<OwnedFd>,
    turns: Arc<Semaphore>,
}

impl Helpers {
    pub fn new(program: Option<OwnedFd>) -> Self {
        Self {
            program,
            turns: Arc::new(Semaphore::new(MAX_RUNNING)),
        }
    }
}

/// What an operation answers.
#[derive(Debug)]
pub enum Body {
    Whole(Vec<u8>),
    /// The beginning, and where the rest comes from.
    Streamed(Vec<u8>, Box<Rest>),
}

/// Carries out an operation. A caller that drops this before it ends ends the operation.
///
/// # Errors
/// The operation's own, or that it could not be started, took too long or died.
pub async fn run(agent: &Arc<Agent>, mut order: GitOrder) -> Result<Body, GitFault> {
    let turn = agent.git.turns.clone().acquire_owned().await;
    let turn = turn.map_err(internal)?;
    let mut clone_path = None;
    if let Some(path) = order.path_mut().filter(|path| !path.is_empty()) {
        let resolved = agent.home.resolve(path);
        *path = resolved.to_string_lossy().into_owned();
        clone_path = Some(resolved);
    }
    let mut text = serde_json::to_vec(&order).map_err(internal)?;
    text.push(b'\n');
    let answered = timeout(TIME_LIMIT, converse(agent, &text, clone_path, turn)).await;
    answered.unwrap_or_else(|_| {
        let hours = TIME_LIMIT.as_secs() / 3600;
        let message = format_args!("the operation took more than {hours} h and was ended");
        Err(fault(ErrorCode::RequestTimeout, message))
    })
}

async fn converse(
    agent: &Arc<Agent>,
    order: &[u8],
    path: Option<PathBuf>,
    turn: OwnedSemaphorePermit,
) -> Result<Body, GitFault> {
    let (mut helper, reader) = Helper::start(agent, turn).map_err(|error| {
        let message = format_args!("the operation could not be started: {error}");
        internal(message)
    })?;
    helper.write(order).await;
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(MAX_LINE);
        let line: Option<GitLine> = match bounded.read_until(b'\n', &mut line).await {
            Ok(_) => serde_json::from_slice(&line).ok(),
            Err(_) => None,
        };
        match line {
            Some(GitLine::Claimed { made }) => {
                helper.claimed = path.clone().map(|path| Claimed { path, made });
            }
            Some(GitLine::Failed(fault)) => {
                helper.end().await;
                return Err(fault);
            }
            Some(GitLine::Done) => break,
            None => return Err(helper.died().await),
        }
    }
    let mut start = Vec::new();
    let limit = MAX_WHOLE as u64;
    let read = (&mut reader).take(limit).read_to_end(&mut start).await;
    read.map_err(internal)?;
    if start.len() < MAX_WHOLE {
        return match helper.exited().await {
            ExitStatus::Code(0) => {
                helper.settle();
                Ok(Body::Whole(start))
            }
            _ => Err(helper.died().await),
        };
    }
    Ok(Body::Streamed(start, Box::new(Rest { helper, reader })))
}

fn fault(code: ErrorCode, message: impl std::fmt::Display) -> GitFault {
    GitFault {
        code,
        message: message.to_string(),
    }
}

fn internal(message: impl std::fmt::Display) -> GitFault {
    fault(ErrorCode::InternalServerError, message)
}

/// The rest of a long answer.
#[derive(Debug)]
pub struct Rest {
    helper: Helper,
    reader: BufReader<pipe::Receiver>,
}

impl Rest {
    /// The pieces to come. An error means that what was sent so far is not the whole.
    pub fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::unfold(Some(self), |state| async move {
            let mut rest = state?;
            let mut piece = Vec::with_capacity(MAX_WHOLE / 4);
            match rest.reader.read_buf(&mut piece).await {
                Ok(0) => match rest.helper.exited().await {
                    ExitStatus::Code(0) => {
                        rest.helper.settle();
                        None
                    }
                    _ => Some((Err(ErrorKind::UnexpectedEof.into()), None)),
                },
                Ok(_) => Some((Ok(Bytes::from(piece)), Some(rest))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

/// A folder that a clone has made its own.
#[derive(Debug)]
struct Claimed {
    path: PathBuf,
    made: bool,
}

impl Claimed {
    fn clear(self) {
        let cleared = if self.made {
            std::fs::remove_dir_all(&self.path)
        } else {
            std::fs::read_dir(&self.path).and_then(|entries| {
                for entry in entries {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        std::fs::remove_dir_all(entry.path())?;
                    } else {
                        std::fs::remove_file(entry.path())?;
                    }
                }
                Ok(())
            })
        };
        if let Err(error) = cleared {
            crate::log::warn(format_args!(
                "cannot clear up after a failed clone: {error}"
            ));
        }
    }
}

/// A helper that runs. Dropping it ends it, with all that it started, and clears up.
#[derive(Debug)]
struct Helper {
    child: Option<Child>,
    /// Once it has exited.
    status: Option<ExitStatus>,
    stdin: Option<pipe::Sender>,
    claimed: Option<Claimed>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Helper {
    fn start(agent: &Agent, turn: OwnedSemaphorePermit) -> io::Result<(Self, pipe::Receiver)> {
        let (theirs_in, ours_in) = pipe_with(PipeFlags::CLOEXEC)?;
        let (ours_out, theirs_out) = pipe_with(PipeFlags::CLOEXEC)?;
        let stdin = pipe::Sender::from_owned_fd(ours_in)?;
        let reader = pipe::Receiver::from_owned_fd(ours_out)?;
        let program = agent.git.program.as_ref();
        let program = program.ok_or_else(|| io::Error::other("this agent has no git program"))?;
        let program = Program {
            path: std::ffi::CString::new(format!("/proc/self/fd/{}", program.as_raw_fd()))?,
            argv: vec![c"alcove-git".to_owned()],
            env: &agent.home.env,
            extra_env: EnvBlock::default(),
            cwd: c"/".to_owned(),
            stdin: theirs_in.as_fd(),
            stdout: theirs_out.as_fd(),
            stderr: agent.null.as_fd(),
            passed: &[],
            is_terminal: false,
            tag: agent.tags.next(),
        };
        let child = agent.children.spawn(&program);
        let child = child.map_err(|failure| failure.error)?;
        let helper = Self {
            child: Some(child),
            status: None,
            stdin: Some(stdin),
            claimed: None,
            turn: Some(turn),
        };
        Ok((helper, reader))
    }

    async fn write(&mut self, order: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            // A helper that is gone already says so by its output.
            let _ = stdin.write_all(order).await;
        }
    }

    async fn exited(&mut self) -> ExitStatus {
        match (self.status, &mut self.child) {
            (Some(status), _) => status,
            (None, Some(child)) => *self.status.insert(child.exited().await),
            (None, None) => ExitStatus::Signal(9),
        }
    }

    /// What is left to do; nothing the second time.
    fn take_ending(&mut self) -> Option<Ending> {
        // Closed first, which tells the helper.
        self.stdin = None;
        Some(Ending {
            child: self.child.take()?,
            has_exited: self.status.is_some(),
            claimed: self.claimed.take(),
            _turn: self.turn.take(),
        })
    }

    /// All is well: nothing is to be cleared up.
    fn settle(&mut self) {
        self.claimed = None;
    }

    /// Ends the helper now.
    async fn end(&mut self) {
        if let Some(ending) = self.take_ending() {
            // By a task of its own: it must come to its end even if nobody waits for it.
            let _ = tokio::spawn(ending.carry_out()).await;
        }
    }

    /// Says why there is no answer.
    async fn died(&mut self) -> GitFault {
        let status = timeout(GRACE, self.exited()).await.ok();
        self.end().await;
        let how = match status {
            Some(ExitStatus::Signal(9 | 6)) => {
                "was killed; most likely it needed more memory than there is"
            }
            Some(ExitStatus::Signal(_)) => "crashed",
            _ => "ended without an answer",
        };
        internal(format_args!("the git operation {how}"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(ending) = self.take_ending() {
            tokio::spawn(ending.carry_out());
        }
    }
}

/// What is left to do about a helper; it keeps its turn until it is gone.
struct Ending {
    child: Child,
    has_exited: bool,
    claimed: Option<Claimed>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Ending {
    async fn carry_out(mut self) {
        if !self.has_exited {
            let _ = timeout(GRACE, self.child.exited()).await;
            // The helper, if it does not end by itself, and what it started.
            Members::of(self.child.tag, self.child.pid).kill().await;
        }
        if let Some(claimed) = self.claimed.take() {
            let _ = tokio::task::spawn_blocking(move || claimed.clear()).await;
        }
    }
}
