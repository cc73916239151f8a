//! One terminal: a shell, its size, its input and its output.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_agent_api::{PtyExit, PtySize};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::process::job::Members;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program, c_path};
use crate::pty::device::{self, Master};
use crate::pty::driver::Driver;
use crate::pty::output::{Begin, End, Output, Viewer};
use crate::sys::{ExitStatus, SpawnStage};

/// Pieces of input that wait for a shell that does not read.
const INPUT_QUEUE: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error("PTY session has ended")]
    Ended,
    #[error("cannot use the folder {folder}: {source}")]
    Folder { folder: String, source: io::Error },
    #[error("cannot start the terminal: {0}")]
    Start(#[source] io::Error),
    #[error("cannot resize the terminal: {0}")]
    Resize(#[source] io::Error),
}

/// What is started.
#[derive(Debug)]
pub struct Launch {
    /// None is the user's shell.
    pub program: Option<Words>,
    pub cwd: PathBuf,
    /// Win over the sandbox's.
    pub env: EnvBlock,
}

/// A program and its arguments, its own name first.
#[derive(Debug)]
pub struct Words {
    pub path: CString,
    pub argv: Vec<CString>,
}

/// A terminal. It begins without a shell; viewers may attach before it has one.
#[derive(Debug)]
pub struct Terminal {
    launch: Launch,
    state: Mutex<State>,
    output: Arc<Output>,
}

#[derive(Debug)]
struct State {
    size: PtySize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Running {
        master: Arc<Master>,
        members: Members,
        input: mpsc::Sender<Bytes>,
    },
    Ended,
}

impl Terminal {
    pub fn new(launch: Launch, size: PtySize) -> Arc<Self> {
        Arc::new(Self {
            launch,
            state: Mutex::new(State {
                size,
                stage: Stage::Waiting,
            }),
            output: Output::new(),
        })
    }

    /// Starts the user's shell, unless it runs already. `on_end` is called when it has ended, before any viewer is
    /// told.
    ///
    /// # Errors
    /// The shell cannot be started, or has ended.
    pub fn start(
        self: &Arc<Self>,
        agent: &Agent,
        on_end: impl FnOnce() + Send + 'static,
    ) -> Result<(), TerminalError> {
        let mut state = self.lock();
        match state.stage {
            Stage::Waiting => {}
            Stage::Running { .. } => return Ok(()),
            Stage::Ended => return Err(TerminalError::Ended),
        }
        let (child, master) = self.spawn(agent, state.size)?;
        let master = Arc::new(master);
        let (input, waiting) = mpsc::channel(INPUT_QUEUE);
        state.stage = Stage::Running {
            master: master.clone(),
            members: Members::of(child.tag, child.pid),
            input,
        };
        drop(state);
        let driver = Driver {
            child,
            master,
            input: waiting,
            output: self.output.clone(),
            is_stopping: agent.is_stopping.subscribe(),
        };
        let terminal = self.clone();
        tokio::spawn(async move {
            let end = driver.drive().await;
            // Closes our side.
            terminal.lock().stage = Stage::Ended;
            on_end();
            terminal.output.close(end);
        });
        Ok(())
    }

    fn spawn(&self, agent: &Agent, size: PtySize) -> Result<(Child, Master), TerminalError> {
        let start = |error: io::Error| TerminalError::Start(error);
        let (master, slave) = device::open(size).map_err(start)?;
        let (path, argv) = if let Some(words) = &self.launch.program {
            (words.path.clone(), words.argv.clone())
        } else {
            let shell = agent.home.shells.choose();
            let name = CString::new(shell.name.as_str()).map_err(|e| start(e.into()))?;
            let argv = vec![name, c"-i".to_owned(), c"-l".to_owned()];
            (shell.c_path.clone(), argv)
        };
        let program = Program {
            path,
            argv,
            env: &agent.home.env,
            extra_env: self.launch.env.clone(),
            cwd: c_path(&self.launch.cwd).map_err(|e| start(e.into()))?,
            stdin: slave.as_fd(),
            stdout: slave.as_fd(),
            stderr: slave.as_fd(),
            passed: &[],
            is_terminal: true,
            tag: agent.tags.next(),
        };
        let child = agent
            .children
            .spawn(&program)
            .map_err(|failure| match failure.stage {
                SpawnStage::WorkDir => TerminalError::Folder {
                    folder: self.launch.cwd.display().to_string(),
                    source: failure.error,
                },
                _ => start(failure.error),
            })?;
        Ok((child, master))
    }

    pub fn attach(&self, begin: Begin) -> Viewer {
        self.output.attach(begin)
    }

    /// Where input goes; none while there is no shell.
    pub fn input(&self) -> Option<mpsc::Sender<Bytes>> {
        match &self.lock().stage {
            Stage::Running { input, .. } => Some(input.clone()),
            Stage::Waiting | Stage::Ended => None,
        }
    }

    pub fn size(&self) -> PtySize {
        self.lock().size
    }

    /// Whether the shell has been started.
    pub fn is_started(&self) -> bool {
        !matches!(self.lock().stage, Stage::Waiting)
    }

    /// Sets the size, for a shell that is to come as well.
    ///
    /// # Errors
    /// The shell has ended.
    pub fn resize(&self, size: PtySize) -> Result<(), TerminalError> {
        let mut state = self.lock();
        match &state.stage {
            Stage::Waiting => {}
            Stage::Running { master, .. } => master.resize(size).map_err(TerminalError::Resize)?,
            Stage::Ended => return Err(TerminalError::Ended),
        }
        state.size = size;
        Ok(())
    }

    /// Kills the shell and all that was ever started in it.
    pub async fn kill(&self) {
        let members = {
            let mut state = self.lock();
            match &state.stage {
                Stage::Waiting => {
                    state.stage = Stage::Ended;
                    None
                }
                Stage::Running { members, .. } => Some(*members),
                Stage::Ended => return,
            }
        };
        if let Some(members) = members {
            members.kill().await;
        } else {
            let killed = ExitStatus::Signal(rustix::process::Signal::KILL.as_raw());
            let exit = PtyExit::new(killed.shell_code());
            self.output.close(End::Exited(exit));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
