//! `execute` of `true`: how long it takes, and how many fit into a second.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alcove_agent_api::{ExecAnswer, ExecRequest, ExecuteRequest, ExecuteResponse};
use alcove_client::Toolbox;
use alcove_runner::TOKEN_HEADER;
use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::WARM_UP;
use super::super::stats::Summary;
use super::Arguments;
use super::subject::{Agent, Subject};

/// Throughput is measured in so many turns of server and bare loop.
const TURNS: u32 = 3;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Execute {
    pub api: Option<Summary>,
    pub agent: Option<Summary>,
    /// Spawn and wait of the same shell with the same command, on the host.
    pub bare: Option<Summary>,
    /// The same as a client of Vercel Sandbox asks for it: waited for, with what it says.
    pub vercel: Option<Summary>,
    pub throughput: Throughput,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    pub clients: usize,
    pub per_second: f64,
    /// Loops that ran beside each other: one for each core of the sandbox.
    pub bare_loops: usize,
    pub bare_per_second: f64,
    /// The shell of the bare loops.
    pub shell: PathBuf,
}

impl Throughput {
    pub fn ratio(&self) -> f64 {
        self.per_second / self.bare_per_second
    }
}

pub async fn measure(
    subject: &Subject,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Execute> {
    let shell = shell_like(&subject.toolbox).await?;
    let mut direct = Direct::connect(&subject.agent).await?;
    let (mut api, mut agent, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut vercel = Vec::new();
    for round in 0..WARM_UP + arguments.rounds {
        if stop.is_cancelled() {
            break;
        }
        let took = [
            timed(execute(&subject.toolbox)).await?,
            timed(direct.execute()).await?,
            timed(async { tokio::task::spawn_blocking(spawn_of(&shell)).await? }).await?,
            timed(follow(subject)).await?,
        ];
        if round >= WARM_UP {
            api.push(took[0]);
            agent.push(took[1]);
            bare.push(took[2]);
            vercel.push(took[3]);
        }
    }
    Ok(Execute {
        api: Summary::of(&api),
        agent: Summary::of(&agent),
        bare: Summary::of(&bare),
        vercel: Summary::of(&vercel),
        throughput: throughput(subject, arguments, shell, stop).await?,
    })
}

async fn timed(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    work.await?;
    Ok(began.elapsed())
}

fn request() -> ExecuteRequest {
    ExecuteRequest {
        command: "true".to_owned(),
        ..ExecuteRequest::default()
    }
}

async fn execute(toolbox: &Toolbox) -> anyhow::Result<()> {
    let answer = toolbox.execute(&request()).await?;
    ensure!(answer.exit_code == 0, "`true` answered {answer:?}");
    Ok(())
}

async fn follow(subject: &Subject) -> anyhow::Result<()> {
    let request = ExecRequest {
        command: "true".to_owned(),
        wait: true,
        logs: true,
        ..ExecRequest::default()
    };
    let answer = subject
        .client
        .run_command(&subject.sandbox.id, &request)
        .await?;
    let last = answer.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    let last: ExecAnswer = serde_json::from_slice(last.unwrap_or_default())
        .with_context(|| format!("the answer was {}", String::from_utf8_lossy(&answer)))?;
    ensure!(
        last.command.exit_code == Some(0),
        "`true` answered {last:?}"
    );
    Ok(())
}

/// One kept connection to the agent.
struct Direct {
    sender: SendRequest<Full<Bytes>>,
    token: String,
}

impl Direct {
    async fn connect(agent: &Agent) -> anyhow::Result<Self> {
        let stream = agent.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with its sender.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            token: agent.token.clone(),
        })
    }

    async fn execute(&mut self) -> anyhow::Result<()> {
        self.sender.ready().await?;
        let request = Request::post("/process/execute")
            .header(http::header::HOST, "agent")
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(TOKEN_HEADER, &self.token)
            .body(Full::from(serde_json::to_vec(&request())?))?;
        let answer = self.sender.send_request(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let answer: ExecuteResponse = serde_json::from_slice(&body)
            .with_context(|| format!("the agent answered {}", String::from_utf8_lossy(&body)))?;
        ensure!(answer.exit_code == 0, "`true` answered {answer:?}");
        Ok(())
    }
}

/// The host's shell of the same name as the one that the sandbox's commands are run by.
async fn shell_like(toolbox: &Toolbox) -> anyhow::Result<PathBuf> {
    let ask = ExecuteRequest {
        command: "readlink /proc/$$/exe".to_owned(),
        ..ExecuteRequest::default()
    };
    let answer = toolbox.execute(&ask).await?.result;
    let inside = PathBuf::from(answer.trim());
    Ok(if inside.is_file() {
        inside
    } else {
        PathBuf::from("/bin/sh")
    })
}

fn spawn_of(shell: &Path) -> impl FnOnce() -> anyhow::Result<()> + Send + 'static {
    let mut command = Command::new(shell);
    // It does what its name is.
    if shell.ends_with("busybox") {
        command.arg0("sh");
    }
    command
        .args(["-c", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    move || {
        let status = command.status().context("cannot start a shell")?;
        ensure!(status.success(), "the shell ended with {status}");
        Ok(())
    }
}

async fn throughput(
    subject: &Subject,
    arguments: &Arguments,
    shell: PathBuf,
    stop: &CancellationToken,
) -> anyhow::Result<Throughput> {
    let turn = Duration::from_secs(arguments.seconds) / TURNS;
    let loops = usize::try_from(subject.sandbox.cpu.max(1))?;
    let (mut answered, mut spawned) = (Rate::default(), Rate::default());
    for _ in 0..TURNS {
        if stop.is_cancelled() {
            break;
        }
        answered.add(by_clients(&subject.toolbox, arguments.clients, turn).await?);
        spawned.add(by_loops(&shell, loops, turn).await?);
    }
    Ok(Throughput {
        clients: arguments.clients,
        per_second: answered.per_second(),
        bare_loops: loops,
        bare_per_second: spawned.per_second(),
        shell,
    })
}

#[derive(Default, Clone, Copy)]
struct Rate {
    count: u32,
    elapsed: Duration,
}

impl Rate {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.elapsed += other.elapsed;
    }

    fn per_second(self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        f64::from(self.count) / self.elapsed.as_secs_f64()
    }
}

async fn by_clients(toolbox: &Toolbox, clients: usize, turn: Duration) -> anyhow::Result<Rate> {
    let began = Instant::now();
    let lanes = (0..clients).map(async |_| {
        let mut count = 0;
        while began.elapsed() < turn {
            execute(toolbox).await?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    let mut count = 0;
    for lane in join_all(lanes).await {
        count += lane?;
    }
    Ok(Rate {
        count,
        elapsed: began.elapsed(),
    })
}

async fn by_loops(shell: &Path, loops: usize, turn: Duration) -> anyhow::Result<Rate> {
    let began = Instant::now();
    let lanes = (0..loops).map(|_| {
        let shell = shell.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut count = 0;
            while began.elapsed() < turn {
                spawn_of(&shell)()?;
                count += 1;
            }
            anyhow::Ok(count)
        })
    });
    let mut count = 0;
    for lane in join_all(lanes).await {
        count += lane??;
    }
    Ok(Rate {
        count,
        elapsed: began.elapsed(),
    })
}
