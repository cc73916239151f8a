//! A runner that plays a host.
//!
//! It keeps sandboxes by the protocol's rules (generations never go back, orders can be repeated) and can
//! be told to be slow, to fail, to lose answers, to say things late, twice or out of order, and to die and
//! come back with everything that a real host would still have.
//!
//! Long because it plays every call of a runner.

mod builds;
mod images;
mod ports;
mod samples;
mod volumes;
mod warm;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_control::{
    AgentConnection, AgentStream, DialError, FetchedPieces, PortListener, RunnerClient,
};
use alcove_domain::{BuildId, Port, SandboxId};
use alcove_runner_api::{
    Build, BuildLogPiece, BuildOutcome, Collected, Fault, FaultCode, Fetch, FetchError, Generation,
    Goal, HostStatus, ImageDigest, ImageEntry, Needed, Observed, Order, OrderError, Pull,
    PullState, Report, RunUsage, Sample, SandboxSpec, Sighting, VolumeOrder, VolumeOutcome,
    WarmKind, WarmState, WarmWish,
};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;

use self::volumes::Volumes;

/// Name of the image that a fresh fake runner has.
pub const DEFAULT_IMAGE: &str = "default";
const AGENT_VERSION: &str = "fake-1";
const REPORTS: usize = 1024;

type Dial = Arc<dyn Fn(&SandboxId) -> Result<AgentConnection, DialError> + Send + Sync>;

/// The fake. Clones play the same host.
#[derive(Clone)]
pub struct FakeRunner {
    host: Arc<Host>,
}

struct Host {
    state: Mutex<State>,
    /// Work waits here before it is done; a closed gate makes a slow host.
    work_gate: watch::Sender<bool>,
    /// Answers wait here after the work is done.
    answer_gate: watch::Sender<bool>,
}

struct State {
    is_alive: bool,
    /// Ends streams and waiting calls of an earlier life.
    life: u64,
    sandboxes: HashMap<SandboxId, Kept>,
    /// The newest order taken of every sandbox, those without a trace on the host included.
    taken: HashMap<SandboxId, Generation>,
    images: Vec<ImageEntry>,
    volumes: Volumes,
    warm: warm::Warm,
    builds: builds::Builds,
    orders: Vec<Order>,
    failures: Vec<(Fault, bool)>,
    undone: Vec<Fault>,
    pulls: images::Pulls,
    lost_answers: usize,
    says_twice: bool,
    used: Option<RunUsage>,
    reports: broadcast::Sender<Report>,
    dial: Option<Dial>,
    samples: samples::Samples,
    /// What is behind addresses outside.
    files: HashMap<String, Vec<Result<Vec<u8>, FetchError>>>,
    sightings: Vec<Sighting>,
}

#[derive(Clone)]
struct Kept {
    generation: Generation,
    observed: Observed,
    spec: Option<SandboxSpec>,
}

impl std::fmt::Debug for FakeRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRunner").finish_non_exhaustive()
    }
}

impl Default for FakeRunner {
    fn default() -> Self {
        Self {
            host: Arc::new(Host {
                state: Mutex::new(State {
                    is_alive: true,
                    life: 0,
                    sandboxes: HashMap::new(),
                    taken: HashMap::new(),
                    images: vec![image(DEFAULT_IMAGE, "daytona")],
                    volumes: Volumes::default(),
                    warm: warm::Warm::default(),
                    builds: builds::Builds::default(),
                    orders: Vec::new(),
                    failures: Vec::new(),
                    undone: Vec::new(),
                    pulls: images::Pulls::default(),
                    lost_answers: 0,
                    says_twice: false,
                    used: None,
                    reports: broadcast::Sender::new(REPORTS),
                    dial: None,
                    samples: samples::Samples::default(),
                    files: HashMap::new(),
                    sightings: Vec::new(),
                }),
                work_gate: watch::Sender::new(true),
                answer_gate: watch::Sender::new(true),
            }),
        }
    }
}

fn image(name: &str, user: &str) -> ImageEntry {
    ImageEntry {
        digest: ImageDigest(format!("sha256:{name}")),
        name: name.to_owned(),
        size_bytes: 1 << 20,
        entrypoint: Vec::new(),
        user: user.to_owned(),
    }
}

/// A fault with a text of its own.
fn fault(code: FaultCode) -> Fault {
    Fault {
        code,
        message: format!("{code:?}"),
    }
}

impl FakeRunner {
    fn state(&self) -> MutexGuard<'_, State> {
        let state = &self.host.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What a test does to the host.

    /// Work is not begun until [`FakeRunner::resume_work`].
    pub fn hold_work(&self) {
        self.host.work_gate.send_replace(false);
    }

    pub fn resume_work(&self) {
        self.host.work_gate.send_replace(true);
    }

    /// Work is done, but nobody hears of it until [`FakeRunner::resume_answers`].
    pub fn hold_answers(&self) {
        self.host.answer_gate.send_replace(false);
    }

    pub fn resume_answers(&self) {
        self.host.answer_gate.send_replace(true);
    }

    /// The next start fails.
    pub fn fail_next(&self, code: FaultCode, has_disk: bool) {
        self.state().failures.insert(0, (fault(code), has_disk));
    }

    /// The next pause, archive, resize, capture or copy cannot be done; the sandbox stays as it is.
    pub fn fail_next_work(&self, code: FaultCode) {
        self.state().undone.insert(0, fault(code));
    }

    /// The next `count` answers are lost: the work is done, the caller hears that the runner is gone.
    pub fn lose_answers(&self, count: usize) {
        self.state().lost_answers = count;
    }

    /// Every change is also said on the stream of reports.
    pub fn say_twice(&self) {
        self.state().says_twice = true;
    }

    /// The runner dies: calls under way and to come fail. Sandboxes go on.
    pub fn kill(&self) {
        let mut state = self.state();
        state.is_alive = false;
        state.life += 1;
        // The old sender goes, and with it every stream.
        state.reports = broadcast::Sender::new(REPORTS);
        drop(state);
        self.host.work_gate.send_modify(|_| {});
        self.host.answer_gate.send_modify(|_| {});
    }

    /// The runner comes back and finds its sandboxes.
    pub fn revive(&self) {
        self.state().is_alive = true;
    }

    /// The agent of a sandbox ends by itself.
    pub fn end_agent(&self, sandbox: &SandboxId, code: FaultCode) {
        let mut state = self.state();
        let kept = state
            .sandboxes
            .get_mut(sandbox)
            .expect("a sandbox that is kept");
        kept.observed = Observed::Stopped {
            fault: Some(fault(code)),
        };
        let report = kept.report(sandbox);
        let _ = state.reports.send(report);
    }

    /// What every run uses that ends from now on because that is ordered.
    pub fn set_used(&self, used: RunUsage) {
        self.state().used = Some(used);
    }

    /// The sandbox is gone and nobody is told.
    pub fn lose(&self, sandbox: &SandboxId) {
        self.state().sandboxes.remove(sandbox);
    }

    /// The sandbox is found in this state and nobody is told.
    pub fn set_observed(&self, sandbox: &SandboxId, observed: Observed) {
        let mut state = self.state();
        let kept = state
            .sandboxes
            .get_mut(sandbox)
            .expect("a sandbox that is kept");
        kept.observed = observed;
    }

    /// A sandbox runs that nobody has ordered.
    pub fn plant(&self, sandbox: &SandboxId, generation: u64) {
        let kept = Kept {
            generation: Generation(generation),
            observed: running(),
            spec: None,
        };
        self.state().sandboxes.insert(sandbox.clone(), kept);
    }

    /// Says anything on the stream of reports, true or not.
    pub fn say(&self, report: Report) {
        // Nobody may listen.
        let _ = self.state().reports.send(report);
    }

    /// Says that a sandbox was seen, under a generation of one's choice.
    pub fn say_of(&self, sandbox: &SandboxId, generation: u64, observed: Observed) {
        self.say(Report::new(
            sandbox.clone(),
            Generation(generation),
            observed,
        ));
    }

    pub fn add_image(&self, name: &str, user: &str) {
        self.state().images.push(image(name, user));
    }

    /// Lets the host see that a sandbox wants something of the network.
    pub fn see(&self, sighting: Sighting) {
        self.state().sightings.push(sighting);
    }

    /// What answers for agents; without it nobody does.
    pub fn on_dial(
        &self,
        dial: impl Fn(&SandboxId) -> Result<AgentConnection, DialError> + Send + Sync + 'static,
    ) {
        self.state().dial = Some(Arc::new(dial));
    }

    /// What comes of an address outside, in these pieces, and why it breaks off then, if it does. Of any other address
    /// nothing comes.
    pub fn put_outside(&self, url: &str, pieces: &[&str], broken: Option<&str>) {
        let pieces = pieces.iter().map(|piece| Ok(piece.as_bytes().to_vec()));
        let broken = broken.map(|reason| {
            Err(FetchError::Broken {
                host: "outside".to_owned(),
                reason: reason.to_owned(),
            })
        });
        let pieces = pieces.chain(broken).collect();
        self.state().files.insert(url.to_owned(), pieces);
    }

    // What a test may ask the host.

    /// What the host has of a sandbox.
    pub fn observed(&self, sandbox: &SandboxId) -> Option<Observed> {
        let state = self.state();
        Some(state.sandboxes.get(sandbox)?.observed.clone())
    }

    pub fn is_running(&self, sandbox: &SandboxId) -> bool {
        matches!(self.observed(sandbox), Some(Observed::Running { .. }))
    }

    pub fn generation(&self, sandbox: &SandboxId) -> Option<u64> {
        Some(self.state().sandboxes.get(sandbox)?.generation.0)
    }

    /// What the sandbox was last made from.
    pub fn spec(&self, sandbox: &SandboxId) -> Option<SandboxSpec> {
        self.state().sandboxes.get(sandbox)?.spec.clone()
    }

    pub fn sandbox_count(&self) -> usize {
        self.state().sandboxes.len()
    }

    /// Every order that was taken, in order, repeated ones included.
    pub fn orders(&self) -> Vec<Order> {
        self.state().orders.clone()
    }

    // How the host works.

    fn take(&self, order: &Order) -> Result<(), OrderError> {
        let mut state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        if let Some(kept) = state.sandboxes.get_mut(&order.sandbox) {
            if kept.generation > order.generation {
                return Err(OrderError::Stale {
                    current: kept.generation,
                });
            }
            kept.generation = order.generation;
        }
        let newest = state
            .taken
            .entry(order.sandbox.clone())
            .or_insert(order.generation);
        if *newest > order.generation {
            return Err(OrderError::Stale { current: *newest });
        }
        *newest = order.generation;
        state.orders.push(order.clone());
        Ok(())
    }

    fn work(&self, order: &Order) -> Result<Report, OrderError> {
        let mut state = self.state();
        // A newer order may have come while this one waited, for a sandbox that is not made yet too.
        if let Some(newest) = state.taken.get(&order.sandbox)
            && *newest > order.generation
        {
            return Err(OrderError::Stale { current: *newest });
        }
        let known = state.sandboxes.get(&order.sandbox).cloned();
        let (observed, spec, work) = match &order.goal {
            Goal::Running(spec) => {
                state.warm.note_run(&order.sandbox);
                let (observed, spec) = state.run(spec, known.as_ref());
                (observed, spec, None)
            }
            Goal::Stopped { .. } => match known {
                Some(kept) if kept.observed == Observed::Archived => {
                    (Observed::Archived, kept.spec, None)
                }
                Some(kept) => (Observed::Stopped { fault: None }, kept.spec, None),
                None => (Observed::Absent, None, None),
            },
            Goal::Absent => {
                state.warm.note_absent(&order.sandbox);
                (Observed::Absent, None, None)
            }
            goal => match known {
                Some(kept) => state.work_on(goal, kept, order),
                None => (Observed::Absent, None, None),
            },
        };
        let kept = Kept {
            generation: order.generation,
            observed,
            spec,
        };
        let has_ended = matches!(order.goal, Goal::Stopped { .. });
        let report = Report {
            work,
            used: state.used.filter(|_| has_ended),
            ..kept.report(&order.sandbox)
        };
        let leaves_nothing = matches!(
            kept.observed,
            Observed::Absent
                | Observed::Failed {
                    has_disk: false,
                    ..
                }
        );
        if leaves_nothing {
            state.sandboxes.remove(&order.sandbox);
        } else {
            state.sandboxes.insert(order.sandbox.clone(), kept);
        }
        if state.says_twice {
            let _ = state.reports.send(report.clone());
        }
        Ok(report)
    }

    /// Waits until the gate is open or the runner has died.
    async fn pass(&self, gate: &watch::Sender<bool>, life: u64) -> Result<(), OrderError> {
        let mut gate = gate.subscribe();
        let opened = gate.wait_for(|is_open| *is_open || self.state().life != life);
        // The sender lives as long as the host that is borrowed here.
        drop(opened.await);
        if self.state().life == life {
            Ok(())
        } else {
            Err(OrderError::Unavailable)
        }
    }
}

impl Kept {
    fn report(&self, sandbox: &SandboxId) -> Report {
        let runs = matches!(
            self.observed,
            Observed::Running { .. } | Observed::Paused { .. }
        );
        let spec = self.spec.as_ref().filter(|_| runs);
        Report {
            network_version: spec.map(|spec| spec.network.version),
            ..Report::new(sandbox.clone(), self.generation, self.observed.clone())
        }
    }
}

fn running() -> Observed {
    Observed::Running {
        agent_version: AGENT_VERSION.to_owned(),
    }
}

#[async_trait]
impl RunnerClient for FakeRunner {
    async fn apply(&self, order: Order) -> Result<Report, OrderError> {
        self.take(&order)?;
        let life = self.state().life;
        // As on a real host, the work goes on when the caller has gone away.
        let host = self.clone();
        let work = tokio::spawn(async move {
            host.pass(&host.host.work_gate, life).await?;
            host.work(&order)
        });
        let report = work.await.map_err(|_| OrderError::Unavailable)??;
        self.pass(&self.host.answer_gate, life).await?;
        let mut state = self.state();
        if state.lost_answers > 0 {
            state.lost_answers -= 1;
            return Err(OrderError::Unavailable);
        }
        Ok(report)
    }

    async fn apply_volume(&self, order: VolumeOrder) -> Result<VolumeOutcome, OrderError> {
        self.order_volume(order).await
    }

    async fn inventory(&self) -> Result<Vec<Report>, OrderError> {
        let state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        Ok(state
            .sandboxes
            .iter()
            .map(|(id, kept)| kept.report(id))
            .collect())
    }

    async fn host_status(&self) -> Result<HostStatus, OrderError> {
        self.tell_host_status().await
    }

    async fn samples(&self) -> Result<Vec<Sample>, OrderError> {
        self.tell_samples()
    }

    async fn images(&self) -> Result<Vec<ImageEntry>, OrderError> {
        let state = self.state();
        if !state.is_alive {
            return Err(OrderError::Unavailable);
        }
        Ok(state.images.clone())
    }

    async fn pull(&self, pull: Pull) -> Result<BoxStream<'static, PullState>, OrderError> {
        self.begin_pull(pull)
    }

    async fn release_image(&self, name: &str) -> Result<(), OrderError> {
        self.release(name)
    }

    async fn collect_images(&self, needed: Needed) -> Result<Collected, OrderError> {
        self.collect(needed)
    }

    async fn keep_warm(&self, wishes: Vec<WarmWish>) -> Result<(), OrderError> {
        self.set_wishes(wishes)
    }

    async fn warm_states(&self) -> Result<Vec<WarmState>, OrderError> {
        self.tell_warm()
    }

    async fn take_warm(&self, kinds: &[WarmKind]) -> Result<Option<SandboxId>, OrderError> {
        self.take_member(kinds)
    }

    async fn give_warm_back(&self, sandbox: &SandboxId) -> Result<(), OrderError> {
        self.take_member_back(sandbox);
        Ok(())
    }

    fn reports(&self) -> BoxStream<'static, Report> {
        let reports = self.state().reports.subscribe();
        BroadcastStream::new(reports)
            .filter_map(|report| async move { report.ok() })
            .boxed()
    }

    async fn build(&self, order: Build) -> Result<BuildOutcome, OrderError> {
        self.run_build(order).await
    }

    async fn cancel_build(&self, build: &BuildId) -> Result<(), OrderError> {
        self.note_cancelled_build(build);
        Ok(())
    }

    async fn forget_build(&self, build: &BuildId) -> Result<(), OrderError> {
        self.note_forgotten_build(build);
        Ok(())
    }

    async fn build_log(
        &self,
        build: &BuildId,
        from: u64,
        _: bool,
    ) -> Result<BuildLogPiece, OrderError> {
        Ok(builds::log(build, from))
    }

    async fn fetch(&self, order: Fetch) -> Result<FetchedPieces, FetchError> {
        let pieces = self.state().files.get(&order.url).cloned();
        let pieces = pieces.ok_or(FetchError::Refused {
            host: "outside".to_owned(),
            status: 404,
        })?;
        Ok(futures_util::stream::iter(pieces).boxed())
    }

    async fn take_sightings(&self) -> Result<Vec<Sighting>, OrderError> {
        Ok(std::mem::take(&mut self.state().sightings))
    }

    async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        if !self.is_running(sandbox) {
            return Err(DialError::NotRunning);
        }
        let dial = self.state().dial.clone();
        dial.map_or(Err(DialError::Unavailable), |dial| dial(sandbox))
    }

    /// Ports are answered by whatever answers for agents.
    async fn dial_port(
        &self,
        sandbox: &SandboxId,
        _: Port,
    ) -> Result<Box<dyn AgentStream>, DialError> {
        Ok(self.dial_agent(sandbox).await?.stream)
    }

    async fn listen_port(
        &self,
        sandbox: &SandboxId,
        port: Option<Port>,
    ) -> Result<(Box<dyn PortListener>, u16), DialError> {
        if !self.is_running(sandbox) {
            return Err(DialError::NotRunning);
        }
        ports::listen(port).await
    }
}
