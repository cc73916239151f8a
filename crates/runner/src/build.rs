//! Builds: carries a plan out in short sandboxes, one for each step that is not known yet.
//!
//! What is decided stands in the crate `alcove_build`; here are the doing and its order. A finished step is an image
//! with a name of the build's own, so that a build which was cut short finds it again. Nothing else is written down
//! of a build: whoever ordered it orders it again.

mod agent;
mod bases;
mod caches;
mod context;
mod fault;
mod fetched;
mod log;
mod run;
mod step;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_runner_api::{Build, BuildFault, BuildFaultCode, BuildLogPiece, BuildOutcome};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::caches::Caches;
pub use self::context::{ContextSource, NoContexts};
use self::log::{LogWriter, Logs};
use crate::faults::Step;
use crate::host::Host;
use crate::pulls::Pulls;
use crate::volumes::Volumes;

/// Builds at a time; others wait for their turn.
const RUNNING_MAX: usize = 4;

/// The sandboxes of steps have ids that begin with this. Those that a killed server left are removed at the next start.
pub(crate) const SANDBOX_PREFIX: &str = "build-";

/// All builds of a runner.
#[derive(Debug)]
pub(crate) struct Builds {
    host: Arc<Host>,
    contexts: Arc<dyn ContextSource>,
    pulls: Arc<Pulls>,
    caches: Arc<Caches>,
    logs: Logs,
    turns: Semaphore,
    open: Mutex<HashMap<String, Open>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A build that runs or waits.
#[derive(Debug, Clone)]
struct Open {
    cancel: CancellationToken,
    outcome: watch::Receiver<Option<BuildOutcome>>,
}

/// What builds need beside the host.
#[derive(Debug)]
pub(crate) struct BuildParts {
    pub contexts: Arc<dyn ContextSource>,
    pub pulls: Arc<Pulls>,
    /// Where what outlives builds is kept.
    pub caches: Volumes,
    /// The folder of logs.
    pub logs: std::path::PathBuf,
}

impl Builds {
    pub fn new(
        host: Arc<Host>,
        parts: BuildParts,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            host,
            contexts: parts.contexts,
            pulls: parts.pulls,
            caches: Arc::new(Caches::new(parts.caches)),
            logs: Logs::new(parts.logs),
            turns: Semaphore::new(RUNNING_MAX),
            open: Mutex::default(),
            stop,
            tasks,
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds, or waits for the build of this id that is under way. Dropping the future does not end the build.
    /// `None` if the runner is being closed: what is done is kept, and the build is to be ordered again.
    pub async fn build(self: &Arc<Self>, order: Build) -> Option<BuildOutcome> {
        let mut outcome = {
            let mut open = self.open();
            if let Some(known) = open.get(&order.id) {
                known.outcome.clone()
            } else {
                let (tell, outcome) = watch::channel(None);
                let cancel = self.stop.child_token();
                let entry = Open {
                    cancel: cancel.clone(),
                    outcome: outcome.clone(),
                };
                open.insert(order.id.clone(), entry);
                let builds = self.clone();
                self.tasks.spawn(async move {
                    let id = order.id.clone();
                    let ended = builds.carry_out(order, cancel).await;
                    builds.open().remove(&id);
                    let _ = tell.send(ended);
                });
                outcome
            }
        };
        let ended = outcome.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| ended.clone())
    }

    /// Ends a build, if it is under way.
    pub fn cancel(&self, id: &str) {
        if let Some(open) = self.open().get(id) {
            open.cancel.cancel();
        }
    }

    /// The next piece of a build's log, from this byte on. With `waits`, waits for one while the build runs.
    pub async fn log(&self, id: &str, from: u64, waits: bool) -> std::io::Result<BuildLogPiece> {
        self.logs.read(id, from, waits).await
    }

    /// Removes the log of a build that is gone. One that is under way is ended first, since it would go on writing.
    pub async fn forget(&self, id: &str) -> std::io::Result<()> {
        let running = self.open().get(id).cloned();
        if let Some(mut running) = running {
            running.cancel.cancel();
            // Gone without a word is over, too.
            let _ = running.outcome.wait_for(Option::is_some).await;
        }
        self.logs.remove(id)
    }

    async fn carry_out(&self, order: Build, cancel: CancellationToken) -> Option<BuildOutcome> {
        if let Some(image) = self.host.images.get_by_name(&order.name) {
            let image = crate::image::entry(&order.name, &image);
            return Some(BuildOutcome::Done { image });
        }
        if cancel.is_cancelled() && !self.stop.is_cancelled() {
            // Nobody reads what it would say.
            let fault = fault::cancelled();
            return Some(BuildOutcome::Failed { fault });
        }
        let log = match self.logs.begin(&order.id) {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(build.id = order.id, %error, "cannot write the log of a build");
                let message = "the log of the build cannot be written";
                let fault = BuildFault::new(BuildFaultCode::Internal, message);
                return Some(BuildOutcome::Failed { fault });
            }
        };
        let started = tokio::time::Instant::now();
        let ended = self.in_time(&order, &log, &cancel).await;
        if self.stop.is_cancelled() && ended.is_err() {
            return None;
        }
        Some(match ended {
            Ok(image) => {
                let seconds = started.elapsed().as_secs_f64();
                log.line(&format!("Built in {seconds:.1} s."));
                BuildOutcome::Done { image }
            }
            Err(fault) => {
                tracing::info!(build.id = order.id, code = ?fault.code, "a build failed: {}", fault.message);
                log.line(&format!("Failed: {}", fault.message));
                BuildOutcome::Failed { fault }
            }
        })
    }

    fn hit(&self, step: Step) -> Result<(), BuildFault> {
        self.host.faults.at(step).map_err(fault::internal)
    }

    /// With its turn, and within its time. Time in the line counts: whoever ordered it counts it too.
    async fn in_time(
        &self,
        order: &Build,
        log: &LogWriter,
        cancel: &CancellationToken,
    ) -> Result<alcove_runner_api::ImageEntry, BuildFault> {
        let is_late = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (late, token, limit) = (is_late.clone(), cancel.clone(), order.limit);
        let clock = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            late.store(true, std::sync::atomic::Ordering::Relaxed);
            token.cancel();
        });
        let run = async {
            let turn = tokio::select! {
                turn = self.turns.acquire() => turn,
                () = cancel.cancelled() => return Err(fault::cancelled()),
            };
            let _turn = turn.map_err(fault::internal)?;
            run::run(self, order, log, cancel).await
        };
        let ended = run.await;
        clock.abort();
        match ended {
            Err(_) if is_late.load(std::sync::atomic::Ordering::Relaxed) => {
                let minutes = order.limit.as_secs().div_ceil(60);
                let message = format!(
                    "the build was ended: it took more than the {minutes} min that were left"
                );
                Err(BuildFault::new(BuildFaultCode::TimedOut, message))
            }
            ended => ended,
        }
    }
}
