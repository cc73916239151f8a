//! From the first instruction to the last: configuration, user, runtime, graceful end.
//!
//! Normally the spawner has put the listening socket and the configuration into descriptors 3 and 4. For
//! tests and for trying things out, `--listen PATH --config FILE [--git PATH] [--no-user-switch]` does without it.
//!
//! The configuration may be a pipe instead of a file. The sandbox then waits for its owner: all that the configuration
//! decides, the user and every variable among it, is decided when it comes, and nothing of the image has run before.
//! Should the pipe end empty, whoever held its other end is gone, and the agent goes too.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{
    AgentConfig, CONFIG_FD, EXIT_START_FAILURE, EXIT_UNKNOWN_USER, GIT_FD, LIMITS_FD, LISTEN_FD,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::agent::Agent;
use crate::git::Helpers;
use crate::home::Home;
use crate::passwd::{self, User};
use crate::session::entrypoint;
use crate::usage::GroupFiles;
use crate::{http, log, sys};

/// From SIGTERM to the exit, all told.
const STOP_BUDGET: Duration = Duration::from_secs(8);

/// Of that, what programs get to end by themselves.
const STOP_GRACE: Duration = Duration::from_secs(6);

/// Threads for work on files that may block.
const BLOCKING_THREADS: usize = 16;

/// How long such a thread waits for more work before it goes, with its memory.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("usage: alcove-agent [--listen PATH --config FILE [--git PATH] [--no-user-switch]]")]
    Usage,
    #[error("cannot read the configuration: {0}")]
    ReadConfig(#[source] io::Error),
    #[error("cannot understand the configuration: {0}")]
    ParseConfig(#[source] serde_json::Error),
    #[error("nobody has said whose sandbox this is")]
    NoConfig,
    #[error("cannot open the git program: {0}")]
    OpenGit(#[source] io::Error),
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    #[error("no user {0:?} in this image")]
    UnknownUser(String),
    #[error("cannot become user {user:?}: {source}")]
    BecomeUser { user: String, source: io::Error },
    #[error("a variable of the configuration holds a NUL byte: {0}")]
    Environment(#[source] std::ffi::NulError),
    #[error("cannot set up the process: {0}")]
    Process(#[source] io::Error),
}

impl StartError {
    fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::UnknownUser(_) => EXIT_UNKNOWN_USER,
            _ => EXIT_START_FAILURE,
        };
        ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

/// How the agent was called.
#[derive(Debug, Default)]
struct Arguments {
    listen: Option<PathBuf>,
    config: Option<PathBuf>,
    git: Option<PathBuf>,
    keeps_user: bool,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, StartError> {
        let mut parsed = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--listen" => {
                    parsed.listen = Some(arguments.next().ok_or(StartError::Usage)?.into());
                }
                "--config" => {
                    parsed.config = Some(arguments.next().ok_or(StartError::Usage)?.into());
                }
                "--git" => {
                    parsed.git = Some(arguments.next().ok_or(StartError::Usage)?.into());
                }
                "--no-user-switch" => parsed.keeps_user = true,
                _ => return Err(StartError::Usage),
            }
        }
        if parsed.listen.is_some() != parsed.config.is_some() {
            return Err(StartError::Usage);
        }
        Ok(parsed)
    }
}

/// Runs the agent to its end.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format_args!("{error}"));
            error.exit_code()
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<(), StartError> {
    let arguments = Arguments::parse(arguments)?;
    open_standard_descriptors().map_err(StartError::Process)?;
    sys::keep_memory_small();
    sys::keep_descriptors_from_children();
    let (listener, config) = take_over(&arguments)?;
    let limits = config.limits.then(take_over_limits).transpose();
    let limits = limits.map_err(StartError::ReadConfig)?;
    let git = take_over_git(&arguments, &config).map_err(StartError::OpenGit)?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);

    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let user = passwd::resolve(&config.user, &passwd, &group)
        .ok_or_else(|| StartError::UnknownUser(config.user.clone()))?;
    // Opens files of `/proc` that belong to us only until the next steps.
    let home = Home::new(&config, &user).map_err(StartError::Environment)?;
    let agent =
        Agent::new(&config, home, limits, Helpers::new(git)).map_err(StartError::Process)?;
    if !arguments.keeps_user {
        switch_user(&config, &user)?;
        sys::forbid_tracing().map_err(StartError::Process)?;
    }
    if std::process::id() != 1 {
        sys::become_subreaper().map_err(StartError::Process)?;
    }
    if std::env::set_current_dir(&agent.home.work_dir).is_err() {
        std::env::set_current_dir("/").map_err(StartError::Process)?;
    }
    raise_descriptor_limit();

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .thread_stack_size(512 << 10)
        .build()
        .map_err(StartError::Process)?;
    let served = runtime.block_on(serve(listener, Arc::new(agent), config.entrypoint));
    // A thread stuck in a file system must not hold up the end.
    runtime.shutdown_background();
    served.map_err(StartError::Process)
}

/// Descriptors 0 to 2 must be taken, or the next files we open would become some child's standard output.
fn open_standard_descriptors() -> io::Result<()> {
    loop {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        if std::os::fd::AsRawFd::as_raw_fd(&null) > 2 {
            return Ok(());
        }
        std::mem::forget(null);
    }
}

fn take_over(arguments: &Arguments) -> Result<(UnixListener, AgentConfig), StartError> {
    let (listener, mut config) = match (&arguments.listen, &arguments.config) {
        (Some(listen), Some(config)) => (
            UnixListener::bind(listen).map_err(StartError::Listen)?,
            File::open(config).map_err(StartError::ReadConfig)?,
        ),
        _ => (
            UnixListener::from(inherited(LISTEN_FD).map_err(StartError::Listen)?),
            File::from(inherited(CONFIG_FD).map_err(StartError::ReadConfig)?),
        ),
    };
    listener.set_nonblocking(true).map_err(StartError::Listen)?;
    let mut text = Vec::new();
    if is_pipe(&config).map_err(StartError::ReadConfig)? {
        // There is time now and none later.
        sys::fault_in_own_program();
    } else {
        config
            .seek(SeekFrom::Start(0))
            .map_err(StartError::ReadConfig)?;
    }
    config
        .read_to_end(&mut text)
        .map_err(StartError::ReadConfig)?;
    if text.is_empty() {
        return Err(StartError::NoConfig);
    }
    let config = serde_json::from_slice(&text).map_err(StartError::ParseConfig)?;
    Ok((listener, config))
}

fn is_pipe(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    Ok(file.metadata()?.file_type().is_fifo())
}

fn take_over_limits() -> io::Result<GroupFiles> {
    let [memory_used, memory_limit, memory_stat, cpu_limit] =
        std::array::from_fn(|at| inherited(LIMITS_FD + i32::try_from(at).unwrap_or(i32::MAX)));
    Ok(GroupFiles::new([
        memory_used?,
        memory_limit?,
        memory_stat?,
        cpu_limit?,
    ]))
}

fn take_over_git(arguments: &Arguments, config: &AgentConfig) -> io::Result<Option<OwnedFd>> {
    if config.git {
        return inherited(GIT_FD).map(Some);
    }
    let open = |path: &PathBuf| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
    };
    arguments.git.as_ref().map(open).transpose()
}

/// A descriptor that our parent left us, closed for our children.
#[expect(
    unsafe_code,
    reason = "a descriptor known by number only has no owner yet"
)]
fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the agent has opened nothing that could have this number, and takes it over once. A number
    // that is not open is found out by the next call, whose failure ends the program.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC) {
        Ok(()) => Ok(fd),
        Err(error) => {
            // Not ours to close.
            std::mem::forget(fd);
            Err(error.into())
        }
    }
}

fn switch_user(config: &AgentConfig, user: &User) -> Result<(), StartError> {
    let is_already = rustix::process::getuid().as_raw() == user.uid
        && rustix::process::getgid().as_raw() == user.gid
        && user.uid != 0;
    if is_already {
        return Ok(());
    }
    sys::become_user(user.uid, user.gid, &user.groups).map_err(|source| StartError::BecomeUser {
        user: config.user.clone(),
        source,
    })
}

/// A command takes a handful of descriptors; the usual soft limit is for programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Not being allowed to only means fewer commands at a time.
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn serve(listener: UnixListener, agent: Arc<Agent>, program: Vec<String>) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    // Before the first child, so that no exit goes unseen.
    let exits = signal(SignalKind::child())?;
    let mut ends = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::quit())?,
    ];
    // Caught and not looked at; ignoring it would be inherited.
    let _hangup = signal(SignalKind::hangup())?;
    tokio::spawn(agent.children.clone().reap(exits));
    let mut server = tokio::spawn(http::serve(listener, agent.clone()));
    // Behind the server, which answers first.
    let of_entrypoint = agent.clone();
    tokio::spawn(async move { entrypoint::start(&of_entrypoint, &program) });
    tokio::select! {
        () = any_of(&mut ends) => {}
        _ = &mut server => log::error(format_args!("the server ended by itself")),
    }
    let deadline = Instant::now() + STOP_BUDGET;
    agent.is_stopping.send_replace(true);
    // Programs and requests end side by side: a request that waits for a command is answered when the
    // command is gone. Terminals hang up by themselves, which is what a shell in one listens to.
    let _ = timeout_at(deadline, async {
        agent.tags.all().terminate(STOP_GRACE).await;
        if !server.is_finished() {
            let _ = server.await;
        }
        agent.sockets_closed().await;
    })
    .await;
    Ok(())
}

async fn any_of(signals: &mut [Signal; 3]) {
    let [terminate, interrupt, quit] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
    }
}
