//! The terminals of the toolbox API, by their ids.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_agent_api::{PtyInfo, PtySize};

use crate::agent::Agent;
use crate::process::spawn::EnvBlock;
use crate::pty::output::{Begin, Viewer};
use crate::pty::terminal::{Launch, Terminal, TerminalError};

/// Most terminals at a time; a sandbox has as many devices.
const MAX_TERMINALS: usize = 256;

/// What programs take for the terminal's kind, unless the caller says otherwise.
const DEFAULT_TERM: &str = "xterm-256color";

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("PTY session with id '{0}' already exists")]
    Exists(String),
    #[error("PTY session '{0}' not found")]
    NotFound(String),
    #[error("too many PTY sessions at a time")]
    TooMany,
    #[error("a variable holds a NUL byte: {0}")]
    Environment(#[from] std::ffi::NulError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
}

/// What a caller asks for.
#[derive(Debug)]
pub struct NewTerminal {
    pub id: String,
    /// Relative to the work dir; empty for the work dir itself.
    pub cwd: String,
    /// Names are checked.
    pub envs: BTreeMap<String, String>,
    pub size: PtySize,
    /// Whether the shell waits for the first client.
    pub is_lazy: bool,
}

#[derive(Debug)]
pub struct Entry {
    id: String,
    cwd: String,
    envs: BTreeMap<String, String>,
    created_at: jiff::Timestamp,
    is_lazy: bool,
    pub terminal: Arc<Terminal>,
}

type ById = HashMap<String, Arc<Entry>>;

/// The terminals that wait for a client or whose shell runs.
#[derive(Debug, Default)]
pub struct Terminals {
    by_id: Arc<Mutex<ById>>,
}

impl Terminals {
    /// Makes a terminal, with a shell unless it is to be lazy.
    ///
    /// # Errors
    /// The id is taken, the folder is none, or the shell does not start.
    #[expect(
        clippy::disallowed_methods,
        reason = "tells people when; nothing is decided by it"
    )]
    pub fn create(&self, agent: &Agent, new: NewTerminal) -> Result<Arc<Entry>, RegistryError> {
        let mut env = EnvBlock::default();
        let mut envs = new.envs;
        envs.entry("TERM".to_owned())
            .or_insert_with(|| DEFAULT_TERM.to_owned());
        for (name, value) in &envs {
            env.set(name, value)?;
        }
        let cwd = agent.home.resolve(&new.cwd);
        // Told now, and not to the client that comes first.
        check_folder(&cwd).map_err(|source| TerminalError::Folder {
            folder: cwd.display().to_string(),
            source,
        })?;
        // Held over the start, which waits for nothing: two callers cannot both have the id.
        let mut by_id = lock(&self.by_id);
        if by_id.contains_key(&new.id) {
            return Err(RegistryError::Exists(new.id));
        }
        if by_id.len() >= MAX_TERMINALS {
            return Err(RegistryError::TooMany);
        }
        let launch = Launch {
            program: None,
            cwd: cwd.clone(),
            env,
        };
        let entry = Arc::new(Entry {
            cwd: cwd.to_string_lossy().into_owned(),
            envs,
            created_at: jiff::Timestamp::now(),
            is_lazy: new.is_lazy,
            terminal: Terminal::new(launch, new.size),
            id: new.id.clone(),
        });
        if !new.is_lazy {
            self.start(agent, &entry)?;
        }
        by_id.insert(new.id, entry.clone());
        Ok(entry)
    }

    fn start(&self, agent: &Agent, entry: &Arc<Entry>) -> Result<(), TerminalError> {
        let by_id = self.by_id.clone();
        let ended = Arc::downgrade(entry);
        let id = entry.id.clone();
        entry.terminal.start(agent, move || {
            let mut by_id = lock(&by_id);
            // The id may be another's by now.
            if let Some(entry) = by_id.get(&id)
                && std::ptr::eq(Arc::as_ptr(entry), ended.as_ptr())
            {
                by_id.remove(&id);
            }
        })
    }

    /// Begins to watch, and starts the shell of a terminal that waited for this.
    ///
    /// # Errors
    /// There is no such terminal, or its shell does not start.
    pub fn watch(
        &self,
        agent: &Agent,
        entry: &Arc<Entry>,
        begin: Begin,
    ) -> Result<Viewer, TerminalError> {
        let viewer = entry.terminal.attach(begin);
        self.start(agent, entry)?;
        Ok(viewer)
    }

    /// # Errors
    /// There is no such terminal.
    pub fn get(&self, id: &str) -> Result<Arc<Entry>, RegistryError> {
        let entry = lock(&self.by_id).get(id).cloned();
        entry.ok_or_else(|| RegistryError::NotFound(id.to_owned()))
    }

    /// In order of creation.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = lock(&self.by_id).values().cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }

    /// Kills a terminal's shell with all that was ever started in it.
    ///
    /// # Errors
    /// There is no such terminal.
    pub async fn delete(&self, id: &str) -> Result<(), RegistryError> {
        let removed = lock(&self.by_id).remove(id);
        let entry = removed.ok_or_else(|| RegistryError::NotFound(id.to_owned()))?;
        entry.terminal.kill().await;
        Ok(())
    }
}

impl Entry {
    /// The terminal as clients see it.
    pub fn describe(&self) -> PtyInfo {
        let size = self.terminal.size();
        PtyInfo {
            id: self.id.clone(),
            cwd: self.cwd.clone(),
            envs: self.envs.clone(),
            cols: size.cols(),
            rows: size.rows(),
            created_at: self.created_at.to_string(),
            active: self.terminal.is_started(),
            lazy_start: self.is_lazy,
        }
    }
}

fn check_folder(path: &std::path::Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

fn lock(by_id: &Mutex<ById>) -> MutexGuard<'_, ById> {
    by_id.lock().unwrap_or_else(PoisonError::into_inner)
}
