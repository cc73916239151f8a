//! Steps of a build.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alcove_agent_api::{
    BuildCopyRequest, BuildCopyResponse, BuildFetchRequest, BuildFrame, BuildInlineFile,
    BuildRunEnd, BuildRunRequest, ErrorCode,
};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::build::{copy, fetch};
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::process::check_variable_names;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program};

/// Pieces of output that wait for the reader.
const FRAMES: usize = 16;

/// Longest piece that is made; as much as a pipe holds.
const PIECE_BYTES: usize = 64 << 10;

/// Longest path that the kernel takes, with its end.
const PATH_MAX: usize = 4096;

/// The exit code that shells have for a program that is not there.
const NOT_STARTED: i32 = 127;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/build/run", post(run))
        .route("/build/copy", post(copy_files))
        .route("/build/fetch", post(fetch_source))
}

async fn fetch_source(State(agent): State<Arc<Agent>>, body: Body) -> Result<Response, ApiError> {
    let request: BuildFetchRequest = read_json(body, ErrorCode::BadRequest).await?;
    check_path("path", &request.path)?;
    fetch::fetch(&agent, request).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn copy_files(body: Body) -> Result<Response, ApiError> {
    let request: BuildCopyRequest = read_json(body, ErrorCode::BadRequest).await?;
    check_path("target", &request.target)?;
    let copied = tokio::task::spawn_blocking(move || {
        let disk = Disk::open()?;
        let digest = copy::copy(&request)?;
        if !request.is_dry {
            disk.sync()?;
        }
        Ok::<_, String>(digest)
    });
    let copied = copied.await;
    let digest = copied
        .map_err(|_| super::error::panicked())?
        .map_err(ApiError::bad_request)?;
    Ok(Json(BuildCopyResponse { digest }).into_response())
}

fn check_path(field: &str, path: &str) -> Result<(), ApiError> {
    if !path.starts_with('/') || path.contains('\0') || path.len() >= PATH_MAX {
        return Err(ApiError::bad_request(format_args!(
            "{field} must be an absolute path"
        )));
    }
    Ok(())
}

async fn run(State(agent): State<Arc<Agent>>, body: Body) -> Result<Response, ApiError> {
    let request: BuildRunRequest = read_json(body, ErrorCode::BadRequest).await?;
    let program = match &request.script {
        Some(script) => Some(&script.name),
        None => request.argv.first(),
    };
    let program = program.filter(|name| !name.is_empty());
    let program = program.ok_or_else(|| ApiError::bad_request("argv must name a program"))?;
    if request.script.is_some() {
        check_path("script.name", program)?;
        if !request.argv.is_empty() {
            return Err(ApiError::bad_request("a script comes without argv"));
        }
    }
    check_path("cwd", &request.cwd)?;
    check_variable_names(request.env.keys())?;
    if request
        .argv
        .iter()
        .chain(request.env.values())
        .any(|text| text.contains('\0'))
    {
        return Err(ApiError::bad_request(
            "argv and env must not hold NUL bytes",
        ));
    }
    let (frames, receiver) = mpsc::channel(FRAMES);
    match start(&agent, &request) {
        Ok((child, reader, disk)) => {
            tokio::spawn(pump(child, reader, disk, frames));
        }
        Err(reason) => {
            let end = BuildFrame::End(BuildRunEnd {
                exit_code: NOT_STARTED,
                reason: Some(reason),
            });
            // There is room for one.
            let _ = frames.try_send(end);
        }
    }
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame.encode())), receiver))
    });
    Ok(Body::from_stream(frames).into_response())
}

/// Tells what the program says, as fast as it is taken, and then how it ended.
async fn pump(
    mut child: Child,
    mut reader: pipe::Receiver,
    disk: Disk,
    frames: mpsc::Sender<BuildFrame>,
) {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut is_open = true;
    let status = loop {
        tokio::select! {
            biased;
            read = reader.read_buf(&mut piece), if is_open => {
                is_open = matches!(read, Ok(count) if count > 0);
                if is_open && frames.send(BuildFrame::Output(std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES)))).await.is_err() {
                    // Nobody waits: the sandbox is about to be removed.
                    return;
                }
            }
            status = child.exited() => break status,
        }
    };
    // What it left running keeps the pipe; the step is over all the same.
    let mut left = rustix::pipe::fcntl_getpipe_size(reader.as_fd()).unwrap_or(PIECE_BYTES);
    while is_open && left > 0 {
        match reader.try_read_buf(&mut piece) {
            Ok(count) if count > 0 => {
                left = left.saturating_sub(count);
                let piece = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
                if frames.send(BuildFrame::Output(piece)).await.is_err() {
                    return;
                }
            }
            _ => is_open = false,
        }
    }
    // A command may have ended well before what it wrote found no room.
    let synced = tokio::task::spawn_blocking(move || disk.sync()).await;
    let end = BuildRunEnd {
        exit_code: status.shell_code(),
        reason: synced.ok().and_then(Result::err),
    };
    let _ = frames.send(BuildFrame::End(end)).await;
}

/// The root, opened before anything is written: what goes wrong on the way to the disk after that is told once, to whoever
/// has it open.
struct Disk(File);

impl Disk {
    fn open() -> Result<Self, String> {
        let root = File::open("/").map_err(|error| format!("/: {error}"))?;
        Ok(Self(root))
    }

    /// Waits until all is on the disk.
    fn sync(&self) -> Result<(), String> {
        let synced = rustix::fs::syncfs(&self.0);
        synced.map_err(|error| format!("what was written is not on the disk: {error}"))
    }
}

fn start(
    agent: &Agent,
    request: &BuildRunRequest,
) -> Result<(Child, pipe::Receiver, Disk), String> {
    let disk = Disk::open()?;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let env = EnvBlock::new(&request.env).map_err(|e| text(&e))?;
    let argv = match &request.script {
        Some(script) => {
            write_script(script).map_err(|e| format!("{}: {e}", script.name))?;
            std::slice::from_ref(&script.name)
        }
        None => &request.argv[..],
    };
    let name = argv.first().ok_or("the command is empty")?;
    let path = env.get("PATH").map(str::to_owned);
    let path = path.or_else(|| agent.home.env.get("PATH"));
    let path = find_program(name, &path.unwrap_or_default(), Path::new(&request.cwd));
    let path = path.ok_or_else(|| format!("{name}: not found"))?;
    let argv = argv.iter().map(|word| CString::new(word.as_str()));
    let argv = argv.collect::<Result<Vec<_>, _>>().map_err(|e| text(&e))?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| text(&e))?;
    let reader = pipe::Receiver::from_owned_fd(reader).map_err(|e| text(&e))?;
    let program = Program {
        path: CString::new(path.as_os_str().as_bytes()).map_err(|e| text(&e))?,
        argv,
        env: &agent.home.env,
        extra_env: env,
        cwd: CString::new(request.cwd.as_str()).map_err(|e| text(&e))?,
        stdin: agent.null.as_fd(),
        stdout: writer.as_fd(),
        stderr: writer.as_fd(),
        passed: &[],
        is_terminal: false,
        tag: agent.tags.next(),
    };
    let child = agent.children.spawn(&program).map_err(|failure| {
        let what = match failure.stage {
            crate::sys::SpawnStage::WorkDir => request.cwd.as_str(),
            _ => name.as_str(),
        };
        format!("{what}: {}", failure.error)
    })?;
    Ok((child, reader, disk))
}

/// For whoever the command runs as, to read and to start.
fn write_script(script: &BuildInlineFile) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&script.name)?;
    file.write_all(script.content.as_bytes())?;
    // Whatever the mask says.
    file.set_permissions(Permissions::from_mode(0o755))
}

/// As a shell looks for it.
fn find_program(name: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(cwd.join(name));
    }
    path.split(':')
        .map(|folder| cwd.join(folder).join(name))
        .find(|path| {
            path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        })
}
