//! A program that was started for somebody: its descriptors and its end.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use alcove_agent_api::{PtySize, RunRequest};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use crate::agent::Agent;
use crate::attached::modes;
use crate::process::environment::is_variable_name;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program, c_path};
use crate::pty::device::{self, Master};
use crate::sys::SpawnStage;

/// What ends the input of a program on a terminal.
const END_OF_TRANSMISSION: &[u8] = &[4];

#[derive(Debug)]
pub struct Running {
    pub child: Child,
    pub input: Input,
    pub output: Source,
    pub errors: Source,
    pub terminal: Option<Arc<Master>>,
}

/// Where a program's input goes.
#[derive(Debug)]
pub enum Input {
    Pipe(pipe::Sender),
    Terminal(Arc<Master>),
    Closed,
}

/// Where a program's output comes from.
#[derive(Debug)]
pub enum Source {
    Pipe(pipe::Receiver),
    Terminal(Arc<Master>),
    Ended,
}

impl Input {
    /// Writes what goes; how much that was. Safe to drop and call again.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.write(bytes).await,
            Self::Terminal(master) => master.write(bytes).await,
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Tells the program that no more comes. What is to be written for it to learn that, if it is.
    pub fn end(&mut self) -> &'static [u8] {
        match self {
            Self::Pipe(_) | Self::Closed => {
                *self = Self::Closed;
                &[]
            }
            Self::Terminal(_) => END_OF_TRANSMISSION,
        }
    }
}

impl Source {
    /// Waits for output and appends it, up to the buffer's capacity. Safe to drop and call again.
    ///
    /// # Errors
    /// There is no more, for now if it is a terminal's.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => match pipe.read_buf(buffer).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            },
            Self::Terminal(master) => master.read(buffer).await,
            Self::Ended => std::future::pending().await,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }
}

impl Running {
    /// Starts the user's shell, for a command or by itself.
    ///
    /// # Errors
    /// Why it was not started.
    pub fn start(
        agent: &Agent,
        command: Option<Vec<u8>>,
        request: &RunRequest,
    ) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| format!("cannot start: {error}");
        let mut env = EnvBlock::default();
        for (name, value) in &request.env {
            if is_variable_name(name) {
                // One with a NUL byte is nobody's.
                let _ = env.set(name, value);
            }
        }
        let shell = agent.home.shells.choose();
        let name = CString::new(shell.name.as_str()).map_err(|e| text(&e))?;
        let argv = match (command, &request.terminal) {
            (Some(command), _) => {
                let command = CString::new(command).map_err(|e| text(&e))?;
                vec![name, c"-c".to_owned(), command]
            }
            (None, Some(_)) => vec![name, c"-i".to_owned(), c"-l".to_owned()],
            (None, None) => vec![name, c"-l".to_owned()],
        };
        let mut program = Program {
            path: shell.c_path.clone(),
            argv,
            env: &agent.home.env,
            extra_env: env,
            cwd: c_path(&agent.home.work_dir).map_err(|e| text(&e))?,
            stdin: agent.null.as_fd(),
            stdout: agent.null.as_fd(),
            stderr: agent.null.as_fd(),
            passed: &[],
            is_terminal: false,
            tag: agent.tags.next(),
        };
        let spawn = |program: &Program<'_>| {
            agent
                .children
                .spawn(program)
                .map_err(|failure| match failure.stage {
                    SpawnStage::WorkDir => format!(
                        "cannot use the folder {}: {}",
                        agent.home.work_dir.display(),
                        failure.error
                    ),
                    _ => text(&failure.error),
                })
        };
        if let Some(wanted) = &request.terminal {
            // Clients say 0 for a size that they do not know.
            let size = PtySize::new(wanted.cols.into(), wanted.rows.into());
            let size = size.unwrap_or(PtySize::DEFAULT);
            let (master, slave) = device::open(size).map_err(|e| text(&e))?;
            modes::apply(&slave, &wanted.modes).map_err(|e| text(&e))?;
            (program.stdin, program.stdout, program.stderr) =
                (slave.as_fd(), slave.as_fd(), slave.as_fd());
            program.is_terminal = true;
            let child = spawn(&program)?;
            let master = Arc::new(master);
            return Ok(Self {
                child,
                input: Input::Terminal(Arc::clone(&master)),
                output: Source::Terminal(Arc::clone(&master)),
                errors: Source::Ended,
                terminal: Some(master),
            });
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| text(&e));
        let (stdin, input) = pipe()?;
        let (output, stdout) = pipe()?;
        let (errors, stderr) = pipe()?;
        (program.stdin, program.stdout, program.stderr) =
            (stdin.as_fd(), stdout.as_fd(), stderr.as_fd());
        let child = spawn(&program)?;
        let source = |fd| pipe::Receiver::from_owned_fd(fd).map(Source::Pipe);
        Ok(Self {
            child,
            input: Input::Pipe(pipe::Sender::from_owned_fd(input).map_err(|e| text(&e))?),
            output: source(output).map_err(|e| text(&e))?,
            errors: source(errors).map_err(|e| text(&e))?,
            terminal: None,
        })
    }

    pub fn resize(&self, size: PtySize) {
        if let Some(terminal) = &self.terminal {
            // One that has gone needs no size.
            let _ = terminal.resize(size);
        }
    }
}

/// A signal by its name in RFC 4254, section 6.10, and those that OpenSSH adds.
pub fn signal_of(name: &str) -> Option<Signal> {
    Some(match name {
        "ABRT" => Signal::ABORT,
        "ALRM" => Signal::ALARM,
        "FPE" => Signal::FPE,
        "HUP" => Signal::HUP,
        "ILL" => Signal::ILL,
        "INT" => Signal::INT,
        "KILL" => Signal::KILL,
        "PIPE" => Signal::PIPE,
        "QUIT" => Signal::QUIT,
        "SEGV" => Signal::SEGV,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "CONT" => Signal::CONT,
        "STOP" => Signal::STOP,
        "TSTP" => Signal::TSTP,
        "WINCH" => Signal::WINCH,
        _ => return None,
    })
}
