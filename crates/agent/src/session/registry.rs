//! All sessions of the sandbox.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use alcove_agent_api as api;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::agent::Agent;
use crate::process::job::Members;
use crate::process::spawn::{EnvBlock, Program, c_path};
use crate::session::command::{Command, CommandState, Mode};
use crate::session::driver::{self, Control, Job, Shell};
use crate::session::folder::{Folders, make_private};
use crate::session::log::Log;

/// Most sessions at a time.
const MAX_SESSIONS: usize = 1024;

/// Commands that a session remembers; the oldest that are over go first.
const MAX_COMMANDS: usize = 10_000;

/// Commands that may wait in one session.
const QUEUE_LENGTH: usize = 1024;

/// Output kept for one command, unless the configuration says otherwise.
const DEFAULT_LOG_BYTES: u64 = 64 << 20;

/// A log holds some of the largest pieces that are written to it, else no reader could keep up with it.
const MIN_LOG_BYTES: u64 = 1 << 20;

/// Output kept for all commands of a session, in logs of full size.
const SESSION_LOGS: u64 = 4;

/// From the polite signal to the kill when a session is deleted.
const DELETE_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("session already exists")]
    Exists,
    #[error("session not found")]
    NotFound,
    #[error("command not found")]
    CommandNotFound,
    /// Its shell has exited, or it was deleted while a caller waited.
    #[error("session has ended")]
    Ended,
    #[error("too many sessions or commands at a time")]
    TooMany,
    #[error("cannot start the session: {0}")]
    Start(String),
}

/// The sessions by their ids.
#[derive(Debug)]
pub struct Sessions {
    by_id: Mutex<HashMap<String, Slot>>,
    /// Made with the first session; an idle agent has no folders.
    folders: OnceLock<Folders>,
    next_folder: AtomicU64,
    log_bytes: u64,
}

#[derive(Debug)]
enum Slot {
    /// Holds the id while the shell is started.
    Starting,
    Ready(Arc<Session>),
}

impl Sessions {
    pub fn new(log_bytes: Option<u64>) -> Self {
        Self {
            by_id: Mutex::default(),
            folders: OnceLock::new(),
            next_folder: AtomicU64::new(0),
            log_bytes: log_bytes.unwrap_or(DEFAULT_LOG_BYTES).max(MIN_LOG_BYTES),
        }
    }

    /// Output kept for one command.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// A new folder for logs of commands that are in no session. It goes with the agent.
    ///
    /// # Errors
    /// The system's reason.
    pub fn log_folder(&self, agent: &Agent) -> io::Result<PathBuf> {
        let folder = self.folders(agent)?.logs.join(self.next_number());
        make_private(&folder)?;
        Ok(folder)
    }

    fn folders(&self, agent: &Agent) -> io::Result<&Folders> {
        if let Some(folders) = self.folders.get() {
            return Ok(folders);
        }
        let _making = self.lock();
        if let Some(folders) = self.folders.get() {
            return Ok(folders);
        }
        let made = Folders::make(&agent.home.dir)?;
        Ok(self.folders.get_or_init(|| made))
    }

    fn next_number(&self) -> String {
        self.next_folder.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Starts a session's shell.
    ///
    /// # Errors
    /// The id is taken, or the shell does not start.
    pub fn create(
        &self,
        agent: &Agent,
        id: &str,
        starts_at_home: bool,
    ) -> Result<(), SessionError> {
        {
            let mut by_id = self.lock();
            if by_id.contains_key(id) {
                return Err(SessionError::Exists);
            }
            if by_id.len() >= MAX_SESSIONS {
                return Err(SessionError::TooMany);
            }
            by_id.insert(id.to_owned(), Slot::Starting);
        }
        let started = self.start(agent, id, starts_at_home);
        let mut by_id = self.lock();
        match started {
            Ok(session) => {
                by_id.insert(id.to_owned(), Slot::Ready(Arc::new(session)));
                Ok(())
            }
            Err(reason) => {
                by_id.remove(id);
                Err(SessionError::Start(reason))
            }
        }
    }

    fn start(&self, agent: &Agent, id: &str, starts_at_home: bool) -> Result<Session, String> {
        let text = |error: io::Error| error.to_string();
        let folders = self.folders(agent).map_err(text)?;
        let number = self.next_number();
        let (run, logs) = (folders.run.join(&number), folders.logs.join(&number));
        make_private(&run)
            .and_then(|()| make_private(&logs))
            .map_err(text)?;
        let control = Control::make(&run).map_err(text)?;
        let (shell_end, own_end) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| e.to_string())?;

        let shell = agent.home.shells.choose();
        let cwd = if starts_at_home {
            &agent.home.dir
        } else {
            &agent.home.work_dir
        };
        let program = Program {
            path: shell.c_path.clone(),
            argv: vec![std::ffi::CString::new(shell.name.as_str()).map_err(|e| e.to_string())?],
            env: &agent.home.env,
            extra_env: EnvBlock::default(),
            cwd: c_path(cwd).map_err(|e| e.to_string())?,
            stdin: shell_end.as_fd(),
            stdout: agent.null.as_fd(),
            stderr: agent.null.as_fd(),
            passed: &[],
            is_terminal: false,
            tag: agent.tags.next(),
        };
        let child = agent
            .children
            .spawn(&program)
            .map_err(|failure| failure.error.to_string())?;
        let members = Members::of(child.tag, child.pid);
        let (queue, waiting) = mpsc::channel(QUEUE_LENGTH);
        let (is_alive, alive) = watch::channel(true);
        let shell = Shell {
            child,
            stdin: pipe::Sender::from_owned_fd(own_end).map_err(text)?,
            builtin_prefix: shell.builtin_prefix(),
            control,
            folder: run.clone(),
        };
        tokio::spawn(driver::drive(shell, waiting, is_alive));
        Ok(Session {
            id: id.to_owned(),
            folders: [run, logs],
            log_bytes: self.log_bytes,
            members,
            queue,
            is_alive: alive,
            is_deleted: watch::Sender::new(false),
            commands: Mutex::default(),
        })
    }

    /// # Errors
    /// There is no such session.
    pub fn get(&self, id: &str) -> Result<Arc<Session>, SessionError> {
        match self.lock().get(id) {
            Some(Slot::Ready(session)) => Ok(session.clone()),
            Some(Slot::Starting) | None => Err(SessionError::NotFound),
        }
    }

    /// All sessions by id, without the image's own.
    pub fn list(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self
            .lock()
            .values()
            .filter_map(|slot| match slot {
                Slot::Ready(session) => Some(session.clone()),
                Slot::Starting => None,
            })
            .filter(|session| session.id != api::ENTRYPOINT_SESSION)
            .collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Ends a session with all that was ever started in it.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn delete(&self, id: &str) -> Result<(), SessionError> {
        let session = self.get(id)?;
        match self.lock().remove(id) {
            Some(Slot::Ready(removed)) if Arc::ptr_eq(&removed, &session) => {}
            // Somebody else was faster, with this one or with its successor.
            Some(other) => {
                self.lock().insert(id.to_owned(), other);
                return Err(SessionError::NotFound);
            }
            None => return Err(SessionError::NotFound),
        }
        session.end().await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shell with its commands.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    /// For named pipes and for logs.
    folders: [PathBuf; 2],
    log_bytes: u64,
    members: Members,
    queue: mpsc::Sender<Job>,
    is_alive: watch::Receiver<bool>,
    is_deleted: watch::Sender<bool>,
    /// In order of creation.
    commands: Mutex<VecDeque<Arc<Command>>>,
}

impl Session {
    /// Queues a command.
    ///
    /// # Errors
    /// The shell is gone, or too many commands wait.
    pub fn exec(&self, text: String, mode: Mode) -> Result<Arc<Command>, SessionError> {
        self.exec_as(Uuid::new_v4().to_string(), text, mode)
    }

    /// As [`Session::exec`], under an id that the session does not have yet.
    ///
    /// # Errors
    /// The shell is gone, or too many commands wait.
    pub fn exec_as(
        &self,
        id: String,
        text: String,
        mode: Mode,
    ) -> Result<Arc<Command>, SessionError> {
        if !*self.is_alive.borrow() || self.is_deleted() {
            return Err(SessionError::Ended);
        }
        let log = Log::new(self.folders[1].join(&id), self.log_bytes);
        let (command, input) = Command::new(id, text, mode, log);
        let mut commands = self.lock();
        make_room(&mut commands, self.log_bytes);
        let job = Job {
            command: command.clone(),
            input,
        };
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SessionError::TooMany,
            mpsc::error::TrySendError::Closed(_) => SessionError::Ended,
        })?;
        commands.push_back(command.clone());
        Ok(command)
    }

    /// Waits for a command's exit code.
    ///
    /// # Errors
    /// The session ended before the command did.
    pub async fn wait(&self, command: &Command) -> Result<i32, SessionError> {
        let state = tokio::select! {
            state = command.over() => state,
            () = self.deleted() => CommandState::Abandoned,
        };
        match state {
            CommandState::Finished(code) => Ok(code),
            CommandState::Abandoned | CommandState::Queued | CommandState::Running => {
                Err(SessionError::Ended)
            }
        }
    }

    /// Resolves when the session is deleted.
    pub async fn deleted(&self) {
        // The sender lives in `self`.
        let _ = self
            .is_deleted
            .subscribe()
            .wait_for(|deleted| *deleted)
            .await;
    }

    pub fn is_deleted(&self) -> bool {
        *self.is_deleted.borrow()
    }

    /// # Errors
    /// There is no such command, or it is forgotten.
    pub fn command(&self, id: &str) -> Result<Arc<Command>, SessionError> {
        let found = self.lock().iter().find(|command| command.id == id).cloned();
        found.ok_or(SessionError::CommandNotFound)
    }

    /// The session as clients see it.
    pub fn describe(&self) -> api::Session {
        api::Session {
            session_id: self.id.clone(),
            commands: self
                .lock()
                .iter()
                .map(|command| command.describe())
                .collect(),
        }
    }

    async fn end(&self) {
        self.is_deleted.send_replace(true);
        self.members.terminate(DELETE_GRACE).await;
        for command in self.lock().iter() {
            command.set_state(CommandState::Abandoned);
            command.log.clear();
        }
        for folder in &self.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Command {
    /// The command as clients see it.
    pub fn describe(&self) -> api::Command {
        api::Command {
            id: self.id.clone(),
            command: self.text.clone(),
            exit_code: self.state().exit_code(),
        }
    }
}

/// Forgets the oldest commands that are over when there are too many, and the oldest logs when they take too
/// much disk.
fn make_room(commands: &mut VecDeque<Arc<Command>>, log_bytes: u64) {
    if commands.len() >= MAX_COMMANDS
        && let Some(oldest) = commands
            .iter()
            .position(|command| command.state().is_over())
    {
        commands.remove(oldest);
    }
    let kept: Vec<u64> = commands
        .iter()
        .map(|command| command.log.kept_bytes())
        .collect();
    let mut excess = kept
        .iter()
        .sum::<u64>()
        .saturating_sub(log_bytes * (SESSION_LOGS - 1));
    for (command, bytes) in commands.iter().zip(kept) {
        if excess == 0 {
            return;
        }
        if bytes > 0 && command.state().is_over() {
            command.log.clear();
            excess = excess.saturating_sub(bytes);
        }
    }
}
