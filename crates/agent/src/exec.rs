//! Programs run as they are named, each with a log of its own.
//!
//! No shell is between: the caller's words are the program's arguments. Output goes to the log whether or not somebody
//! reads it, and a caller that leaves ends nothing; a program ends by itself, by a signal, or when its time is up.

mod input;

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use alcove_agent_api::{ErrorCode, ExecCommand, ExecRequest, PtySize};
use jiff::Timestamp;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

pub use self::input::{Fed, InputError};

use self::input::Input;
use crate::agent::Agent;
use crate::process::job::Members;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program, c_path, find_program, is_executable};
use crate::pty::terminal::{Launch, Terminal, Words};
use crate::session::command::{Command, CommandState, Mode};
use crate::session::log::Log;
use crate::session::pump::{self, Pipes};
use crate::sys::SpawnStage;

/// Programs that run at a time.
const RUNNING_MAX: usize = 1024;

/// Programs that are remembered; the oldest that are over go first.
const COMMANDS_MAX: usize = 4096;

/// Output kept for all programs, in logs of full size.
const LOGS_MAX: u64 = 4;

/// What runs a program as root: `env` gives it the search path that `sudo` takes away.
const SUDO: &str = "sudo";
const ENV: &str = "/usr/bin/env";

/// Why a program was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    #[error("{0}: no such executable")]
    NoSuchExecutable(String),
    #[error("cannot use the folder {folder}: {reason}")]
    WorkDir { folder: String, reason: String },
    #[error("{what} must not hold NUL bytes")]
    NulByte { what: &'static str },
    #[error("invalid environment variable name: {0:?}")]
    Variable(String),
    #[error("the image has no sudo to become root with")]
    NoSudo,
    #[error("too many commands run at a time")]
    TooMany,
    #[error("cannot start {name}: {reason}")]
    Start { name: String, reason: String },
}

impl ExecError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchExecutable(_) => ErrorCode::ExecutableNotFound,
            Self::WorkDir { .. } | Self::NulByte { .. } | Self::Variable(_) | Self::NoSudo => {
                ErrorCode::BadRequest
            }
            Self::TooMany => ErrorCode::ServiceUnavailable,
            Self::Start { .. } => ErrorCode::BadRequest,
        }
    }
}

/// One program that was started.
#[derive(Debug)]
pub struct Exec {
    /// State and log.
    pub command: Arc<Command>,
    args: Vec<String>,
    cwd: String,
    session_id: String,
    started_at: Timestamp,
    /// Set before the state says that it is over.
    took: Arc<OnceLock<Duration>>,
    members: Members,
    /// None of a program that was started without one.
    input: Option<Arc<Input>>,
}

impl Exec {
    /// As clients see it now.
    pub fn describe(&self) -> ExecCommand {
        let exit_code = self.command.state().exit_code();
        let took = exit_code.and_then(|_| self.took.get());
        ExecCommand {
            id: self.command.id.clone(),
            name: self.command.text.clone(),
            args: self.args.clone(),
            cwd: self.cwd.clone(),
            session_id: self.session_id.clone(),
            sandbox_id: self.session_id.clone(),
            exit_code,
            started_at: self.started_at.as_millisecond(),
            duration_ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Gives the program more to read; what becomes of it stands at [`Input::feed`].
    pub async fn feed(
        &self,
        data: &[u8],
        offset: Option<u64>,
        closes: bool,
    ) -> Result<Fed, InputError> {
        match &self.input {
            Some(input) => input.feed(data, offset, closes).await,
            None => Err(InputError::Unavailable),
        }
    }

    /// Sends a signal to all that belongs to the program. One that is over gets none.
    pub fn signal(&self, signal: Signal) {
        if !self.command.state().is_over() {
            self.members.signal(signal);
        }
    }
}

/// The programs, oldest first.
#[derive(Debug, Default)]
pub struct Execs {
    all: Mutex<VecDeque<Arc<Exec>>>,
    /// Made with the first program.
    folder: OnceLock<PathBuf>,
}

impl Execs {
    pub fn get(&self, id: &str) -> Option<Arc<Exec>> {
        let all = self.lock();
        // Those that are asked for are mostly young.
        all.iter().rev().find(|exec| exec.command.id == id).cloned()
    }

    pub fn list(&self) -> Vec<Arc<Exec>> {
        self.lock().iter().cloned().collect()
    }

    /// Starts a program. Must be called within a runtime.
    ///
    /// # Errors
    /// Nothing was started, and nothing is left.
    #[expect(
        clippy::disallowed_methods,
        reason = "tells people when; nothing is decided by it"
    )]
    pub fn start(&self, agent: &Agent, request: ExecRequest) -> Result<Arc<Exec>, ExecError> {
        let failed = |reason: String| ExecError::Start {
            name: request.command.clone(),
            reason,
        };
        self.make_room(agent.sessions.log_bytes())?;
        let cwd = agent
            .home
            .resolve(request.cwd.as_deref().unwrap_or_default());
        let plan = Plan::new(agent, &request, &cwd)?;
        // What is refused leaves nothing.
        let folder = if let Some(folder) = self.folder.get() {
            folder
        } else {
            let made = agent.sessions.log_folder(agent);
            let made = made.map_err(|error| failed(error.to_string()))?;
            self.folder.get_or_init(|| made)
        };
        let id = format!("cmd_{}", Uuid::new_v4().simple());
        let log = Log::new(folder.join(&id), agent.sessions.log_bytes());
        let started = Instant::now();
        let started_at = Timestamp::now();
        let input = request.attach_stdin.then(|| pipe_with(PipeFlags::CLOEXEC));
        let input = input
            .transpose()
            .map_err(|error| failed(error.to_string()))?;
        let (stdin, input) = match input {
            None => (None, None),
            Some((stdin, input)) => {
                let input = Input::new(input).map_err(|error| failed(error.to_string()))?;
                (Some(stdin), Some(Arc::new(input)))
            }
        };
        let (child, pipes) = plan.start(agent, &request.command, &cwd, stdin)?;
        let (command, _) = Command::new(id, request.command, Mode::Sync, log);
        command.set_state(CommandState::Running);
        let took = Arc::new(OnceLock::new());
        let members = Members::of(child.tag, child.pid);
        let exec = Arc::new(Exec {
            command: Arc::clone(&command),
            args: request.args,
            cwd: cwd.to_string_lossy().into_owned(),
            session_id: request.session_id,
            started_at,
            took: Arc::clone(&took),
            members,
            input: input.clone(),
        });
        self.lock().push_back(Arc::clone(&exec));
        let (done, ended) = oneshot::channel();
        let limit = request.timeout.map(Duration::from_millis);
        tokio::spawn(async move {
            let code = end_of(child, members, limit).await;
            // Nobody else sets it.
            let _ = took.set(started.elapsed());
            // The pump waits for it as long as the agent is there.
            let _ = done.send(code);
            // It may have left somebody behind who reads on; clients are told that it is over.
            if let Some(input) = input {
                input.end().await;
            }
        });
        tokio::spawn(pump::run(command, pipes, None, ended));
        Ok(exec)
    }

    /// Forgets the oldest that are over when there are too many, and their logs when they take too much disk.
    fn make_room(&self, log_bytes: u64) -> Result<(), ExecError> {
        let mut all = self.lock();
        let is_over = |exec: &Arc<Exec>| exec.command.state().is_over();
        if all.iter().filter(|exec| !is_over(exec)).count() >= RUNNING_MAX {
            return Err(ExecError::TooMany);
        }
        if all.len() >= COMMANDS_MAX
            && let Some(oldest) = all.iter().position(is_over)
        {
            all.remove(oldest);
        }
        let kept: Vec<u64> = all
            .iter()
            .map(|exec| exec.command.log.kept_bytes())
            .collect();
        let room = log_bytes * (LOGS_MAX - 1);
        let mut excess = kept.iter().sum::<u64>().saturating_sub(room);
        for (exec, bytes) in all.iter().zip(kept) {
            if excess == 0 {
                break;
            }
            if bytes > 0 && is_over(exec) {
                exec.command.log.clear();
                excess = excess.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Exec>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the exit, with a kill when time is up.
async fn end_of(mut child: Child, members: Members, limit: Option<Duration>) -> i32 {
    let Some(limit) = limit else {
        return child.exited().await.shell_code();
    };
    if let Ok(status) = timeout(limit, child.exited()).await {
        return status.shell_code();
    }
    members.kill().await;
    child.exited().await.shell_code()
}

/// A program on a terminal, which is not started yet.
///
/// # Errors
/// There is no such program or folder.
pub fn on_terminal(
    agent: &Agent,
    request: &ExecRequest,
    size: PtySize,
) -> Result<Arc<Terminal>, ExecError> {
    let cwd = agent
        .home
        .resolve(request.cwd.as_deref().unwrap_or_default());
    let Plan { path, argv, env } = Plan::new(agent, request, &cwd)?;
    let program = Some(Words { path, argv });
    Ok(Terminal::new(Launch { program, cwd, env }, size))
}

/// What the kernel is to be asked for.
struct Plan {
    path: CString,
    argv: Vec<CString>,
    env: EnvBlock,
}

impl Plan {
    fn new(agent: &Agent, request: &ExecRequest, cwd: &Path) -> Result<Self, ExecError> {
        let nul = |what| move |_| ExecError::NulByte { what };
        let mut env = EnvBlock::default();
        for (name, value) in &request.env {
            if name.is_empty() || name.contains('=') {
                return Err(ExecError::Variable(name.clone()));
            }
            env.set(name, value).map_err(nul("env"))?;
        }
        if request.command.contains('\0') {
            return Err(ExecError::NulByte { what: "command" });
        }
        if !cwd.is_dir() {
            return Err(ExecError::WorkDir {
                folder: cwd.to_string_lossy().into_owned(),
                reason: "it is not there, or no folder".to_owned(),
            });
        }
        let search_path = env.get("PATH").map(str::to_owned);
        let search_path = search_path.unwrap_or_else(|| agent.home.search_path());
        // The caller's word is what the program finds as its own name.
        let path = find(&request.command, cwd, &search_path)
            .ok_or_else(|| ExecError::NoSuchExecutable(request.command.clone()))?;
        let args = request
            .args
            .iter()
            .map(|arg| CString::new(arg.as_str()).map_err(nul("args")))
            .collect::<Result<Vec<_>, _>>()?;
        let name = CString::new(request.command.as_str()).map_err(nul("command"))?;
        let is_root = rustix::process::geteuid().is_root();
        if request.sudo && is_root {
            env.set("HOME", "/root").map_err(nul("env"))?;
        }
        let path = c_path(&path).map_err(nul("command"))?;
        if !request.sudo || is_root {
            return Ok(Self {
                path,
                argv: std::iter::once(name).chain(args).collect(),
                env,
            });
        }
        let sudo = find_program(SUDO, &search_path).ok_or(ExecError::NoSudo)?;
        // Neither asks for a password, nor drops the environment; the home is root's.
        let words = [SUDO, "-n", "-E", "-H", "--", ENV]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("PATH={search_path}")]);
        let mut line = words
            .map(|word| CString::new(word).map_err(nul("env")))
            .collect::<Result<Vec<_>, _>>()?;
        line.push(path);
        line.extend(args);
        Ok(Self {
            path: c_path(&sudo).map_err(nul("command"))?,
            argv: line,
            env,
        })
    }

    /// With an empty input where there is no `stdin`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is closed here once the child has it"
    )]
    fn start(
        self,
        agent: &Agent,
        name: &str,
        cwd: &Path,
        stdin: Option<OwnedFd>,
    ) -> Result<(Child, Pipes), ExecError> {
        let failed = |reason: String| ExecError::Start {
            name: name.to_owned(),
            reason,
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.to_string()));
        let (output, stdout) = pipe()?;
        let (errors, stderr) = pipe()?;
        let program = Program {
            path: self.path,
            argv: self.argv,
            env: &agent.home.env,
            extra_env: self.env,
            cwd: c_path(cwd).map_err(|_| ExecError::NulByte { what: "cwd" })?,
            stdin: stdin.as_ref().map_or(agent.null.as_fd(), AsFd::as_fd),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            passed: &[],
            is_terminal: false,
            tag: agent.tags.next(),
        };
        let child = agent.children.spawn(&program);
        let child = child.map_err(|failure| match failure.stage {
            SpawnStage::WorkDir => ExecError::WorkDir {
                folder: cwd.to_string_lossy().into_owned(),
                reason: failure.error.to_string(),
            },
            _ => failed(failure.error.to_string()),
        })?;
        let pipes = Pipes::of([output, errors], [stdout, stderr]);
        Ok((child, pipes.map_err(|error| failed(error.to_string()))?))
    }
}

/// The program that a word means: by its path, or by its name on a search path.
fn find(command: &str, cwd: &Path, search_path: &str) -> Option<PathBuf> {
    if !command.contains('/') {
        return find_program(command, search_path);
    }
    let path = cwd.join(command);
    is_executable(&path).then_some(path)
}
