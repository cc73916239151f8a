//! `alcove bench floor`: what this host takes, whoever asks.
//!
//! Three floors, since three questions are asked:
//!
//! * **process**: a process in namespaces of its own executes a static program; its first byte. Nothing of a
//!   sandbox is there yet. No platform that isolates by namespaces can be faster.
//! * **isolated**: the same with all that isolates a sandbox's process, on an empty root in memory: own `/proc`,
//!   `/dev` and `/sys`, masks, few capabilities, the filter. What a sandbox of this isolation takes at least.
//! * **sandbox**: all that makes a process a sandbox, and the first output of a command in it, from the runner
//!   directly: root, limits, mounts, filter, agent, with the same pooled parts that the server has. No HTTP
//!   API, no database, no control plane. What a create takes above it is the server's own. In the same sandbox
//!   a second command is run, asking the agent directly: what an execute takes above that is the server's own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use alcove_agent_api::ExecuteResponse;
use alcove_domain::SandboxId;
use alcove_runner::net::Ipv4Pool;
use alcove_runner::{Programs, Runner, RunnerConfig, TOKEN_HEADER};
use alcove_runner_api::{
    DiskOrigin, Generation, Goal, ImageDigest, NetworkSpec, Observed, Order, Resources, SandboxSpec,
};
use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::stats::Summary;
use super::{ECHO_COMMAND, ECHO_OUTPUT, Printed, Surroundings, interrupted, table};
use crate::parts;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Measures what this host takes to isolate, without a server.\n\n\
    process: clone3 into user, mount, pid, ipc, uts and control group namespaces and a network namespace that \
    waits, id maps, exec of a static program, its first byte. No root, no /proc, no limits, no filter.\n\n\
    isolated: the same with all that isolates a sandbox's process, on an empty root in memory: own /proc, /dev and \
    /sys, masks, few capabilities, the filter. No layers, no disk, no limits, no agent.\n\n\
    sandbox (with --image): the runner makes a whole sandbox from pooled parts and its agent runs a first \
    command; ends with that command's output. No HTTP API, no database, no control plane."
)]
pub struct Arguments {
    /// Rounds that count.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Milliseconds between rounds; 0 runs them back to back.
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    printed: Printed,
}

/// What the sandbox floor is made from, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The image of the sandbox floor, an OCI archive; best the one that the server uses. Without it, only the
    /// other two are measured.
    #[arg(long = "image", env = "ALCOVE_DEFAULT_IMAGE")]
    pub image: Option<PathBuf>,
    /// Addresses for the sandboxes of the floor; must not overlap with the server's.
    #[arg(long, env = "ALCOVE_BENCH_NETWORK_POOL", default_value = super::NETWORK_POOL)]
    pub network_pool: Ipv4Pool,
    /// Folder in which a temporary data folder is made.
    #[arg(long, env = "ALCOVE_BENCH_SCRATCH", default_value = super::SCRATCH)]
    pub scratch: PathBuf,
}

/// All floors; that of the sandbox only where there is an image.
#[derive(Debug, Default)]
pub struct Samples {
    process: Vec<Duration>,
    isolated: Vec<Duration>,
    sandbox: Vec<Duration>,
    execute: Vec<Duration>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Result {
    pub process: Option<Summary>,
    pub isolated: Option<Summary>,
    pub sandbox: Option<Summary>,
    pub execute: Option<Summary>,
}

impl Samples {
    pub fn result(&self) -> Result {
        Result {
            process: Summary::of(&self.process),
            isolated: Summary::of(&self.isolated),
            sandbox: Summary::of(&self.sandbox),
            execute: Summary::of(&self.execute),
        }
    }
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = interrupted()?;
    let host = Surroundings::now();
    let mut floor = Floor::open(&arguments.place).await?;
    let rounds = async {
        let mut samples = Samples::default();
        for round in 0..super::WARM_UP + arguments.rounds {
            if stop.is_cancelled() {
                break;
            }
            if round == super::WARM_UP {
                samples = Samples::default();
            }
            floor
                .round(
                    &mut samples,
                    Duration::from_millis(arguments.pause_ms),
                    &stop,
                )
                .await?;
        }
        anyhow::Ok(samples)
    };
    let samples = rounds.await;
    floor.close().await;
    let result = samples?.result();
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "pauseMs": arguments.pause_ms,
    });
    let found = serde_json::json!({ "floor": result });
    super::print(
        "floor",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || table::summaries(&rows(&result)),
    )
}

pub fn rows(result: &Result) -> [(&'static str, Option<&Summary>); 4] {
    [
        ("floor: process", result.process.as_ref()),
        ("floor: isolated", result.isolated.as_ref()),
        ("floor: sandbox", result.sandbox.as_ref()),
        ("floor: execute `true`", result.execute.as_ref()),
    ]
}

/// Measures all floors. Ended by [`Floor::close`], on every path.
#[derive(Debug)]
pub struct Floor {
    process: ProcessFloor,
    sandbox: Option<SandboxFloor>,
    /// Holds the programs and all data; goes last.
    _folder: tempfile::TempDir,
}

impl Floor {
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        let folder = super::scratch_folder(&place.scratch)?;
        let programs = parts::unpack(folder.path())?;
        let sandbox = match &place.image {
            None => None,
            Some(image) => Some(
                SandboxFloor::open(folder.path(), programs.clone(), image, place.network_pool)
                    .await?,
            ),
        };
        Ok(Self {
            process: ProcessFloor::start(&programs.spawner)?,
            sandbox,
            _folder: folder,
        })
    }

    /// One of each, with a pause after each.
    pub async fn round(
        &mut self,
        samples: &mut Samples,
        pause: Duration,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        samples.process.push(self.process.round(b'p').await?);
        super::rest(pause, stop).await;
        samples.isolated.push(self.process.round(b'i').await?);
        super::rest(pause, stop).await;
        if let Some(sandbox) = &mut self.sandbox {
            let (first_output, execute) = sandbox.round().await?;
            samples.sandbox.push(first_output);
            samples.execute.push(execute);
            super::rest(pause, stop).await;
        }
        Ok(())
    }

    pub async fn close(self) {
        if let Some(sandbox) = self.sandbox {
            sandbox.close().await;
        }
    }
}

/// The spawner's program in its measuring mode: small and with one thread, as a caller of `clone3` has to be.
#[derive(Debug)]
struct ProcessFloor {
    asks: ChildStdin,
    answers: ChildStdout,
    _child: Child,
}

impl ProcessFloor {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg("floor")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C is ours to handle.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the measuring program has no pipes");
        };
        Ok(Self {
            asks,
            answers,
            _child: child,
        })
    }

    /// One round of what the letter stands for.
    async fn round(&mut self, what: u8) -> anyhow::Result<Duration> {
        let mut nanoseconds = [0_u8; 8];
        let exchange = async {
            self.asks.write_all(&[what]).await?;
            self.answers.read_exact(&mut nanoseconds).await?;
            io::Result::Ok(())
        };
        exchange
            .await
            .context("the measuring program ended; it says why above")?;
        Ok(Duration::from_nanos(u64::from_le_bytes(nanoseconds)))
    }
}

/// A runner of its own.
#[derive(Debug)]
struct SandboxFloor {
    runner: Runner,
    image: ImageDigest,
    user: String,
    rounds: u64,
}

impl SandboxFloor {
    async fn open(
        folder: &Path,
        programs: Programs,
        image: &Path,
        pool: Ipv4Pool,
    ) -> anyhow::Result<Self> {
        let key = folder.as_os_str().as_encoded_bytes();
        let config = RunnerConfig::new(folder, key, pool, programs);
        let runner = Runner::open(config)
            .await
            .context("cannot start a runner for the floor")?;
        let (own, archive) = (runner.clone(), image.to_owned());
        let import = move || own.import_image(&archive, "floor");
        match tokio::task::spawn_blocking(import).await? {
            Ok(entry) => Ok(Self {
                runner,
                image: entry.digest,
                user: entry.user,
                rounds: 0,
            }),
            Err(error) => {
                runner.close().await;
                Err(error).with_context(|| format!("cannot import {}", image.display()))
            }
        }
    }

    /// Create to first output, and one more command.
    async fn round(&mut self) -> anyhow::Result<(Duration, Duration)> {
        self.rounds += 1;
        let sandbox: SandboxId = format!("floor-{}", self.rounds).parse()?;
        let measured = self.measure(&sandbox).await;
        self.order(&sandbox, 2, Goal::Absent).await?;
        measured
    }

    async fn measure(&self, sandbox: &SandboxId) -> anyhow::Result<(Duration, Duration)> {
        let resources = alcove_domain::Resources::DEFAULT;
        let spec = SandboxSpec {
            image: self.image.clone(),
            resources: Resources {
                cpu_millis: resources.cpu_cores * 1000,
                memory_bytes: u64::from(resources.memory_gib) << 30,
                disk_bytes: u64::from(resources.disk_gib) << 30,
                pids: 4096,
            },
            user: self.user.clone(),
            env: std::collections::BTreeMap::new(),
            disk: DiskOrigin::New,
            entrypoint: Vec::new(),
            volumes: Vec::new(),
            network: NetworkSpec::default(),
        };
        let began = Instant::now();
        match self.order(sandbox, 1, Goal::Running(spec)).await? {
            Observed::Running { .. } => {}
            other => bail!("a sandbox of the floor did not start: {other:?}"),
        }
        let output = self.execute(sandbox, ECHO_COMMAND).await?;
        let first_output = began.elapsed();
        ensure!(
            output == ECHO_OUTPUT,
            "`{ECHO_COMMAND}` answered {output:?}"
        );
        let asked = Instant::now();
        self.execute(sandbox, "true").await?;
        Ok((first_output, asked.elapsed()))
    }

    /// Asks the agent, without a server in between.
    async fn execute(&self, sandbox: &SandboxId, command: &str) -> anyhow::Result<String> {
        let (mut agent, token) = self.runner.dial_agent(sandbox).await?;
        let body = serde_json::json!({ "command": command }).to_string();
        let request = format!(
            "POST /process/execute HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n{TOKEN_HEADER}: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        agent.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        agent.read_to_string(&mut answer).await?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: ExecuteResponse =
            serde_json::from_str(body).with_context(|| format!("the agent answered {answer:?}"))?;
        ensure!(
            answer.exit_code == 0,
            "`{command}` ended with code {}",
            answer.exit_code
        );
        Ok(answer.result)
    }

    async fn order(
        &self,
        sandbox: &SandboxId,
        generation: u64,
        goal: Goal,
    ) -> anyhow::Result<Observed> {
        let order = Order {
            sandbox: sandbox.clone(),
            generation: Generation(generation),
            goal,
        };
        Ok(self.runner.apply(order).await?.observed)
    }

    async fn close(self) {
        self.runner.close().await;
    }
}
