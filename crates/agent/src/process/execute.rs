//! Commands of one request: started, read to their end, ended in time.
//!
//! The end of a command is the exit of its first process. What it left running in the background keeps the
//! output pipe, but not the caller: after a short silence the rest is read and dropped by a task of its own,
//! so that the background process neither blocks nor dies of a broken pipe.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout_at};

use crate::agent::Agent;
use crate::process::capture::{Capture, CaptureLimits, Captured};
use crate::process::job::Members;
use crate::process::reaper::Child;
use crate::process::shell::Shell;
use crate::process::spawn::{EnvBlock, Program};
use crate::sys::ExitStatus;

/// Room for one read; as much as a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// Silence after which output of a background process no longer belongs to the answer.
const LINGER_SILENCE: Duration = Duration::from_millis(100);

/// Longest wait for such output.
const LINGER_TOTAL: Duration = Duration::from_secs(1);

/// Name of the variable that carries a script to the shell; unset before the script runs.
const SCRIPT_VARIABLE: &str = "ALCOVE_SCRIPT";

/// Longest script that travels in the environment. Linux takes 128 KiB for one string.
const MAX_SCRIPT_VARIABLE: usize = 120 << 10;

/// How a command ended.
#[derive(Debug)]
pub enum Outcome {
    Exited(ExitStatus, Captured),
    /// It took too long and was killed; this is what it had said.
    TimedOut(Captured),
    /// It could not be started; the system's reason.
    NotStarted(String),
}

/// What is asked of a command besides what it is.
#[derive(Debug, Default)]
pub struct Terms {
    /// Relative to the work dir.
    pub cwd: Option<String>,
    pub env: EnvBlock,
    pub time_limit: Option<Duration>,
}

/// A program, its arguments, and the files it gets as standard input and as descriptors 3, 4 and so on.
#[derive(Debug)]
pub struct Invocation {
    pub path: CString,
    pub argv: Vec<CString>,
    pub stdin: Option<OwnedFd>,
    pub passed: Vec<OwnedFd>,
}

impl Invocation {
    /// A script for the user's shell.
    ///
    /// The script must not be read from standard input: the commands in it would eat the lines that follow.
    /// It should not be an argument either: `pkill -f` with a word of the script would find the shell, and
    /// arguments are for all to see. It travels in a variable that the shell drops first, or, when too
    /// long for that, in a file.
    ///
    /// # Errors
    /// The script holds a NUL byte, or the file cannot be made.
    pub fn of_script(shell: &Shell, script: &str, env: &mut EnvBlock) -> io::Result<Self> {
        // By its whole path: bash looks itself up on `PATH` otherwise, which takes eleven calls of the system.
        let name = shell.c_path.clone();
        let invocation = |argv: Vec<CString>, passed| Self {
            path: shell.c_path.clone(),
            argv,
            stdin: None,
            passed,
        };
        if script.len() > MAX_SCRIPT_VARIABLE {
            let file = memory_file(script.as_bytes())?;
            return Ok(invocation(vec![name, c"/dev/fd/3".to_owned()], vec![file]));
        }
        if !shell.is_bourne() {
            let argv = vec![name, c"-c".to_owned(), CString::new(script)?];
            return Ok(invocation(argv, Vec::new()));
        }
        env.set(SCRIPT_VARIABLE, script)?;
        let bootstrap = format!("eval \"unset {SCRIPT_VARIABLE};${SCRIPT_VARIABLE}\"");
        let argv = vec![name, c"-c".to_owned(), CString::new(bootstrap)?];
        Ok(invocation(argv, Vec::new()))
    }
}

/// Runs to the end. Meant for a task of its own: a caller that leaves does not stop the command.
pub async fn run(agent: &Agent, invocation: Invocation, terms: Terms) -> Outcome {
    let (child, reader) = match start(agent, invocation, &terms) {
        Ok(started) => started,
        Err(reason) => return Outcome::NotStarted(reason),
    };
    watch(child, reader, terms.time_limit).await
}

fn start(
    agent: &Agent,
    invocation: Invocation,
    terms: &Terms,
) -> Result<(Child, pipe::Receiver), String> {
    let cwd = terms.cwd.as_deref().unwrap_or_default();
    let cwd = crate::process::spawn::c_path(&agent.home.resolve(cwd)).map_err(|e| e.to_string())?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| e.to_string())?;
    let reader = pipe::Receiver::from_owned_fd(reader).map_err(|e| e.to_string())?;
    let stdin = invocation
        .stdin
        .as_ref()
        .map_or(agent.null.as_fd(), AsFd::as_fd);
    let passed: Vec<_> = invocation.passed.iter().map(AsFd::as_fd).collect();
    let program = Program {
        path: invocation.path,
        argv: invocation.argv,
        env: &agent.home.env,
        extra_env: terms.env.clone(),
        cwd,
        stdin,
        stdout: writer.as_fd(),
        stderr: writer.as_fd(),
        passed: &passed,
        is_terminal: false,
        tag: agent.tags.next(),
    };
    let child = agent.children.spawn(&program).map_err(|failure| {
        let what = match failure.stage {
            crate::sys::SpawnStage::WorkDir => program.cwd.to_string_lossy(),
            _ => program.path.to_string_lossy(),
        };
        format!("{what}: {}", failure.error)
    })?;
    Ok((child, reader))
}

async fn watch(mut child: Child, mut reader: pipe::Receiver, limit: Option<Duration>) -> Outcome {
    let mut capture = Capture::new(CaptureLimits::default());
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut is_open = true;
    let time_is_up = sleep(limit.unwrap_or(Duration::MAX));
    tokio::pin!(time_is_up);
    let status = loop {
        tokio::select! {
            read = reader.read_buf(&mut buffer), if is_open => {
                is_open = matches!(read, Ok(count) if count > 0);
                capture.push(&buffer);
                buffer.clear();
            }
            status = child.exited() => break status,
            () = &mut time_is_up, if limit.is_some() => {
                if let Some(status) = child.try_exited() {
                    break status;
                }
                Members::of(child.tag, child.pid).kill().await;
                drain(&mut reader, &mut buffer, &mut capture);
                return Outcome::TimedOut(capture.finish());
            }
        }
    };
    if is_open && drain(&mut reader, &mut buffer, &mut capture) {
        let last = Instant::now() + LINGER_TOTAL;
        loop {
            let silence = (Instant::now() + LINGER_SILENCE).min(last);
            match timeout_at(silence, reader.read_buf(&mut buffer)).await {
                Ok(Ok(count)) if count > 0 && Instant::now() < last => {
                    capture.push(&buffer);
                    buffer.clear();
                }
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) | Err(_) => {
                    tokio::spawn(discard(reader));
                    break;
                }
            }
        }
    }
    Outcome::Exited(status, capture.finish())
}

/// Reads what is in the pipe now. Whether somebody still holds its other end.
///
/// A background process may write faster than we read; what comes while we do no longer counts.
fn drain(reader: &mut pipe::Receiver, buffer: &mut Vec<u8>, capture: &mut Capture) -> bool {
    let mut left = rustix::pipe::fcntl_getpipe_size(reader.as_fd()).unwrap_or(READ_BYTES);
    while left > 0 {
        match reader.try_read_buf(buffer) {
            Ok(0) => return false,
            Ok(count) => {
                left = left.saturating_sub(count);
                capture.push(buffer);
                buffer.clear();
            }
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// Reads a pipe to its end for the sake of its writers.
async fn discard(mut reader: pipe::Receiver) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    while matches!(reader.read_buf(&mut buffer).await, Ok(count) if count > 0) {
        buffer.clear();
        // A program that writes without end must not keep the agent busy with nothing.
        sleep(Duration::from_millis(1)).await;
    }
}

/// A file in memory, read from its beginning, that nobody can change any more.
///
/// # Errors
/// The system's reason; no memory, most likely.
pub fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("script", flags)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(
        &file,
        rustix::fs::SealFlags::WRITE
            | rustix::fs::SealFlags::GROW
            | rustix::fs::SealFlags::SHRINK
            | rustix::fs::SealFlags::SEAL,
    )?;
    Ok(file)
}
