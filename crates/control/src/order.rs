//! Working off one order: to the runner, again if need be, until it is done or has had its time.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alcove_domain::session::{RunUsage, Traffic};
use alcove_domain::{Fault, FaultCode, Goal, Observation, OutboundProxy, Phase, Sandbox};
use alcove_runner_api::{
    self as runner_api, DiskOrigin, Generation, ImageDigest, Observed, Order, OrderError, Report,
    SandboxSpec, VolumeMount, Work as RunnerWork,
};
use alcove_store::{Claim, StoreError};
use jiff::{SignedDuration, Timestamp};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use crate::Settings;
use crate::driver::LEASE;
use crate::images;
use crate::network;
use crate::shared::Shared;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(10);
const GIB: u64 = 1 << 30;
/// Bytes of what a runner says that is kept.
const AGENT_VERSION_MAX: usize = 100;
const MESSAGE_MAX: usize = 4 << 10;
/// How the runner's names of images begin that are somebody's snapshots. No image of an operator's is called
/// so.
pub(crate) const CAPTURED_PREFIX: &str = "+snapshot-";

/// An order being worked off. Dropping it stops the work, not what the runner has begun.
///
/// It is a task of its own, not a future that the driver polls between its asks: it takes the store's one
/// writer to claim the order, and a driver that stopped polling it there to write something itself would
/// wait for that writer for ever, and everybody else with it.
pub(crate) type Job = AbortOnDropHandle<Outcome>;

/// How a job ended.
pub(crate) struct Outcome {
    pub goal: Goal,
    /// Which attempt it was, counted from one.
    pub attempt: u32,
    pub end: End,
}

pub(crate) enum End {
    Answer(Report),
    /// The runner has seen a newer order than ours.
    Stale {
        current: u64,
    },
    OutOfTime(Fault),
    /// Another process has the order now, or it is over.
    TakenAway,
}

/// The end of the job; never, if there is none.
pub(crate) async fn work(job: &mut Option<Job>) -> Outcome {
    match job {
        Some(job) => match job.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Aborted: the runtime ends, and the driver with it.
                Err(_) => pending().await,
            },
        },
        None => pending().await,
    }
}

/// Begins to work off the open order of `sandbox`. The first attempt is claimed by whoever wrote the
/// order; every other one is claimed first, and waits longer than the one before.
pub(crate) fn begin(
    shared: Arc<Shared>,
    sandbox: Arc<Sandbox>,
    goal: Goal,
    attempt: u32,
    take_over: bool,
) -> Job {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut work = Work {
            deadline: deadline(&shared, &sandbox, goal),
            shared,
            sandbox,
            goal,
            attempt,
        };
        let end = work.run(take_over).await;
        Outcome {
            goal,
            attempt: work.attempt,
            end,
        }
    }))
}

/// A delete is never given up. Time during which no server ran does not count.
fn deadline(shared: &Shared, sandbox: &Sandbox, goal: Goal) -> Option<Timestamp> {
    let since = sandbox.lifecycle.state_changed_at.max(shared.opened_at);
    let limit = time_limit(shared, sandbox, goal)?;
    Some(since.saturating_add(limit).unwrap_or(Timestamp::MAX))
}

fn time_limit(shared: &Shared, sandbox: &Sandbox, goal: Goal) -> Option<Duration> {
    match goal {
        Goal::Absent => None,
        // The whole disk goes over to another place.
        Goal::Running if sandbox.lifecycle.phase == Phase::Restoring => {
            Some(shared.settings.work_timeout)
        }
        Goal::Archived | Goal::Resized | Goal::Captured | Goal::Copied => {
            Some(shared.settings.work_timeout)
        }
        Goal::Running | Goal::Stopped { .. } | Goal::Paused => Some(shared.settings.order_timeout),
    }
}

struct Work {
    shared: Arc<Shared>,
    sandbox: Arc<Sandbox>,
    goal: Goal,
    attempt: u32,
    deadline: Option<Timestamp>,
}

impl Work {
    async fn run(&mut self, take_over: bool) -> End {
        if self.sandbox.runner.is_some() {
            self.shared.fleet.jobs.note_order();
        }
        let mut claim = match (take_over, self.attempt) {
            (true, _) => Some(Claim::TakeOver),
            (false, 1) => None,
            (false, _) => Some(Claim::Attempt),
        };
        if claim == Some(Claim::Attempt) {
            self.pause().await;
        }
        loop {
            if let Some(kind) = claim {
                match self.claim(kind).await {
                    Ok(true) => {}
                    Ok(false) => return End::TakenAway,
                    Err(error) => {
                        tracing::error!(sandbox.id = %self.sandbox.id, %error, "cannot claim an order");
                        self.attempt += 1;
                        self.pause().await;
                        continue;
                    }
                }
            }
            self.shared.reached(crate::probe::Step::OrderReady).await;
            match self.attempt().await {
                Some(Ok(report)) => {
                    self.note_runner(true);
                    return End::Answer(report);
                }
                Some(Err(OrderError::Stale { current })) => {
                    return End::Stale { current: current.0 };
                }
                Some(Err(error)) => {
                    self.note_runner(false);
                    tracing::debug!(sandbox.id = %self.sandbox.id, %error, "the order must wait");
                }
                None => return End::OutOfTime(self.out_of_time()),
            }
            if self.time_left() == Some(Duration::ZERO) {
                return End::OutOfTime(self.out_of_time());
            }
            self.attempt += 1;
            self.pause().await;
            claim = Some(Claim::Attempt);
        }
    }

    /// None if the time is up before the runner answers.
    async fn attempt(&self) -> Option<Result<Report, OrderError>> {
        let asked = self.shared.clock.now();
        let span = tracing::info_span!(
            target: "alcove_trace",
            "order",
            sandbox.id = %self.sandbox.id,
            goal = ?self.goal,
            attempt = self.attempt,
            error = Empty,
        );
        let answer = self.ask().instrument(span.clone());
        tokio::pin!(answer);
        let time_up = async {
            match self.time_left() {
                Some(left) => self.shared.clock.sleep(left).await,
                None => pending().await,
            }
        };
        tokio::pin!(time_up);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    if let Err(error) = &answer {
                        span.record("error", display(error));
                    }
                    tracing::debug!(
                        sandbox.id = %self.sandbox.id,
                        took_ms = self.shared.clock.now().duration_since(asked).as_millis(),
                        "the runner has answered an order for {}", self.sandbox.id
                    );
                    return Some(answer);
                }
                () = &mut time_up => return None,
                () = self.shared.clock.sleep(LEASE / 3) => {
                    if let Err(error) = self.claim(Claim::Renew).await {
                        tracing::warn!(sandbox.id = %self.sandbox.id, %error, "cannot renew a lease");
                    }
                }
            }
        }
    }

    /// Asks the runner that the sandbox is on.
    async fn ask(&self) -> Result<Report, OrderError> {
        let (shared, sandbox) = (&self.shared, &self.sandbox);
        let answer = |observed| {
            let generation = Generation(sandbox.lifecycle.generation);
            Report::new(sandbox.id.clone(), generation, observed)
        };
        if let Some(id) = &sandbox.runner
            && !shared.fleet.is_known(id)
        {
            // It was deleted by force, with whatever was on it.
            return Ok(answer(match self.goal {
                Goal::Absent => Observed::Absent,
                _ => Observed::Failed {
                    fault: runner_api::Fault {
                        code: runner_api::FaultCode::Lost,
                        message: "the runner that the sandbox was on was deleted".to_owned(),
                    },
                    has_disk: false,
                },
            }));
        }
        if self.goal == Goal::Running
            && let Some(observed) = images::bring(shared, sandbox).await?
        {
            return Ok(answer(observed));
        }
        let host = shared.host_of(sandbox).ok_or(OrderError::Unavailable)?;
        host.apply(self.order()).await
    }

    async fn claim(&self, kind: Claim) -> Result<bool, StoreError> {
        let now = self.shared.clock.now();
        let lease_until = now.saturating_add(LEASE).unwrap_or(now);
        let tx = self.shared.store.begin().await?;
        let is_ours = tx
            .command_claim(
                &self.sandbox.id,
                self.sandbox.lifecycle.generation,
                &self.shared.owner,
                now,
                lease_until,
                kind,
            )
            .await?;
        if !is_ours && kind == Claim::TakeOver {
            // State and order are written together, so this mends what should not be.
            let order = self.shared.new_order(&self.sandbox, self.goal);
            tx.command_open(&order).await?;
        }
        tx.commit().await?;
        Ok(is_ours || kind == Claim::TakeOver)
    }

    fn note_runner(&self, answers: bool) {
        if self.sandbox.runner.is_none() {
            self.shared.note_runner(answers);
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let left: SignedDuration = self.deadline?.duration_since(self.shared.clock.now());
        Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    fn out_of_time(&self) -> Fault {
        let doing = match self.goal {
            Goal::Running => "start",
            Goal::Stopped { .. } => "stop",
            Goal::Absent => "go",
            Goal::Paused => "pause",
            Goal::Archived => "go into the archive",
            Goal::Resized => "get its new sizes",
            Goal::Captured => "become a snapshot",
            Goal::Copied => "get copied",
        };
        let limit = time_limit(&self.shared, &self.sandbox, self.goal);
        let seconds = limit.unwrap_or_default().as_secs();
        Fault::new(
            FaultCode::TimedOut,
            format!("the sandbox did not {doing} within {seconds} seconds"),
        )
    }

    /// Waits before the next attempt, longer each time, with a quarter left to chance so that sandboxes
    /// that failed together do not all come back together.
    async fn pause(&self) {
        let doublings = self.attempt.saturating_sub(2).min(16);
        let wait = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
        let mut chance = [0; 1];
        self.shared.rng.fill(&mut chance);
        let wait = wait.saturating_sub(wait.mul_f64(f64::from(chance[0]) / 1024.0));
        let wait = self.time_left().map_or(wait, |left| wait.min(left));
        tokio::select! {
            () = self.shared.clock.sleep(wait) => {}
            // The runner that it is on was away, and has come.
            () = self.shared.fleet.joined.comes(self.sandbox.runner.as_ref()) => {}
        }
    }

    fn order(&self) -> Order {
        Order {
            sandbox: self.sandbox.id.clone(),
            generation: Generation(self.sandbox.lifecycle.generation),
            goal: self.goal_for_runner(),
        }
    }

    fn goal_for_runner(&self) -> runner_api::Goal {
        let goal = match self.goal {
            Goal::Running => Some(runner_api::Goal::Running(self.spec())),
            Goal::Stopped { force: true } => Some(runner_api::Goal::Stopped {
                grace: Duration::ZERO,
            }),
            Goal::Stopped { force: false } => Some(runner_api::Goal::Stopped {
                grace: self.shared.settings.stop_grace,
            }),
            Goal::Absent => Some(runner_api::Goal::Absent),
            Goal::Paused => Some(runner_api::Goal::Paused),
            Goal::Archived => Some(runner_api::Goal::Archived),
            // What these are about stands in the phase that they were ordered from.
            Goal::Resized | Goal::Captured | Goal::Copied => None,
        };
        goal.unwrap_or_else(|| match &self.sandbox.lifecycle.phase {
            Phase::Resizing { to } => runner_api::Goal::Resized(self.resources(*to)),
            Phase::Snapshotting { snapshot } => runner_api::Goal::Captured {
                name: images::name_of(snapshot),
            },
            Phase::Forking { child } => runner_api::Goal::Copied {
                child: child.clone(),
                child_generation: Generation(1),
            },
            phase => unreachable!("the phase {} orders no work", phase.state()),
        })
    }

    fn resources(&self, sizes: alcove_domain::Resources) -> runner_api::Resources {
        resources(&self.shared.settings, sizes)
    }

    fn volumes(&self) -> Vec<VolumeMount> {
        let volumes = self.sandbox.volumes.iter();
        volumes
            .map(|mount| VolumeMount {
                volume: mount.volume.clone(),
                mount_path: mount.mount_path.clone(),
                subpath: mount.subpath.clone(),
                is_read_only: mount.is_read_only,
            })
            .collect()
    }

    /// The caller's variables, those of its proxy that it does not set itself, and those of the platform.
    fn env(&self) -> BTreeMap<String, String> {
        let mut env = platform_env(&self.sandbox);
        let proxy = self.shared.open_proxy(&self.sandbox);
        for (name, value) in proxy.iter().flat_map(OutboundProxy::variables) {
            env.entry(name.to_owned()).or_insert(value);
        }
        env
    }

    fn spec(&self) -> SandboxSpec {
        // Only a sandbox that is made for the first time, and of an image, begins with an empty disk.
        let is_new =
            self.sandbox.lifecycle.phase == Phase::Creating && self.sandbox.parent_id.is_none();
        SandboxSpec {
            image: ImageDigest(self.sandbox.image.clone()),
            resources: self.resources(self.sandbox.resources),
            disk: if is_new {
                DiskOrigin::New
            } else {
                DiskOrigin::Existing
            },
            user: self.sandbox.user.clone(),
            env: self.env(),
            entrypoint: self.sandbox.entrypoint.clone(),
            volumes: self.volumes(),
            network: network::spec(&self.shared, &self.sandbox),
        }
    }
}

/// Sizes in the runner's words.
pub(crate) fn resources(
    settings: &Settings,
    sizes: alcove_domain::Resources,
) -> runner_api::Resources {
    runner_api::Resources {
        cpu_millis: sizes.cpu_cores.saturating_mul(1000),
        memory_bytes: u64::from(sizes.memory_gib) * GIB,
        disk_bytes: u64::from(sizes.disk_gib) * GIB,
        pids: settings.pids_per_sandbox,
    }
}

/// The first order of a new sandbox.
pub(crate) fn first(shared: &Arc<Shared>, sandbox: &Sandbox) -> Order {
    let work = Work {
        shared: Arc::clone(shared),
        sandbox: Arc::new(sandbox.clone()),
        goal: Goal::Running,
        attempt: 1,
        deadline: None,
    };
    work.order()
}

/// The caller's variables with those of the platform; the caller's cannot begin like the platform's.
fn platform_env(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut env = sandbox.env.clone();
    let platform = [
        ("DAYTONA_SANDBOX_ID", sandbox.id.as_str()),
        ("DAYTONA_SANDBOX_SNAPSHOT", &sandbox.snapshot),
        ("DAYTONA_SANDBOX_USER", &sandbox.user),
        ("DAYTONA_ORGANIZATION_ID", sandbox.organization_id.as_str()),
        ("DAYTONA_REGION_ID", &sandbox.region),
    ];
    for (name, value) in platform {
        env.insert(name.to_owned(), value.to_owned());
    }
    env
}

/// What a report tells beside the state.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub agent_version: Option<String>,
    pub work: Option<RunnerWork>,
    /// The version of the network policy that is in force.
    pub network_version: Option<u64>,
    /// What the run used that is over.
    pub used: Option<RunUsage>,
}

/// A runner's report in the domain's words: generation, observation, and the rest.
pub(crate) fn read(report: Report) -> (u64, Observation, Heard) {
    let mut agent_version = None;
    let observation = match report.observed {
        Observed::Running { agent_version: it } => {
            agent_version = Some(clipped(it, AGENT_VERSION_MAX));
            Observation::Running
        }
        Observed::Paused { agent_version: it } => {
            agent_version = Some(clipped(it, AGENT_VERSION_MAX));
            Observation::Paused
        }
        Observed::Stopped { fault } => Observation::Stopped {
            fault: fault.map(read_fault),
        },
        Observed::Failed { fault, has_disk } => Observation::Failed {
            fault: read_fault(fault),
            has_disk,
        },
        Observed::Archived => Observation::Archived,
        Observed::Absent => Observation::Absent,
    };
    let heard = Heard {
        agent_version,
        work: report.work,
        network_version: report.network_version,
        used: report.used.map(read_usage),
    };
    (report.generation.0, observation, heard)
}

fn read_usage(used: runner_api::RunUsage) -> RunUsage {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    RunUsage {
        cpu_ms: used.cpu_used.map(ms),
        traffic: used.network.map(|network| Traffic {
            received_bytes: network.received_bytes,
            sent_bytes: network.sent_bytes,
        }),
    }
}

pub(crate) fn read_fault(fault: runner_api::Fault) -> Fault {
    use runner_api::FaultCode as Theirs;
    let code = match fault.code {
        Theirs::ImageMissing => FaultCode::ImageMissing,
        Theirs::UserMissing => FaultCode::UserMissing,
        Theirs::HostDiskFull => FaultCode::HostDiskFull,
        Theirs::HostMemoryFull => FaultCode::HostMemoryFull,
        Theirs::HostPidsFull => FaultCode::HostPidsFull,
        Theirs::NetworkSlotsFull => FaultCode::NetworkSlotsFull,
        Theirs::AgentSilent => FaultCode::AgentSilent,
        Theirs::AgentExited => FaultCode::AgentExited,
        Theirs::OutOfMemory => FaultCode::OutOfMemory,
        Theirs::HostRebooted => FaultCode::HostRebooted,
        Theirs::Lost => FaultCode::Lost,
        Theirs::VolumeUnusable => FaultCode::VolumeUnusable,
        Theirs::Unsupported => FaultCode::Unsupported,
        // Codes of a newer runner keep their text.
        _ => FaultCode::Internal,
    };
    Fault::new(code, clipped(fault.message, MESSAGE_MAX))
}

/// Runners outside of the server are other people's: what they say is kept, and need not be any length.
fn clipped(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
    text
}
