//! The driver: one task a sandbox, the only one that changes anything of it on this host.
//!
//! ```text
//!                Running(spec)                 Running(spec)
//!     Absent ────────────────────► Running ◄──────────────────── Stopped
//!        ▲                          │   │  Stopped, or the end     ▲ │
//!        │          Absent          │   │  of its first process    │ │
//!        ├──────────────────────────┘   └──────────────────────────┘ │
//!        └───────────────────────────────────────────────────────────┘
//!                                    Absent
//! ```
//!
//! A running one may be held still (paused), a stopped one put into the archive and brought back; see `work`.
//!
//! Orders come through a mailbox and are worked off one at a time; between them the driver waits for the end
//! of the sandbox's first process. An order is taken if its generation is not older than the newest taken
//! one, and applying one again finds its goal reached.

mod backup;
mod capture;
mod ending;
mod held;
mod inbox;
mod network;
mod new;
mod resize;
mod step;
mod work;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_runner_api::{
    DiskOrigin, Fault, FaultCode, Generation, Goal, ImageDigest, Order, OrderError, Report,
    RunUsage, SandboxSpec,
};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{mpsc, oneshot};

use self::held::{
    Held, Live, Why, ending_fault, image, live, network_version, observed, occupied, process, token,
};
use self::inbox::Inbox;
pub(crate) use self::work::let_go_of_copied;
use crate::archive::Header;
use crate::backup::BackedUp;
use crate::disk::LoopNumber;
use crate::host::{Host, HostError};
use crate::journal::{Hold, Phase, Record};
use crate::making::{self, Extras, Failed, LastDevice, Made, Start};
use crate::runner::{Occupied, Runner};

/// A killed process that is still there after this long is stuck in the kernel.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait for the spawner's word on how a process ended. It comes within a millisecond, or never
/// where that spawner is gone.
const EXIT_STATUS_LIMIT: Duration = Duration::from_millis(250);

/// What a driver is asked.
#[derive(Debug)]
pub enum Message {
    /// An order and where its report goes.
    Order {
        /// Apart: a mailbox has room for 32 messages from the first on, also that of a sandbox which is stopped for weeks.
        order: Box<Order>,
        /// Takes in what the order makes of this sandbox.
        runner: Runner,
        answer: oneshot::Sender<Result<Report, OrderError>>,
    },
    /// To copy it into the folder of a backup. It changes nothing, so it has no generation.
    BackUp {
        to: PathBuf,
        answer: oneshot::Sender<Result<BackedUp, HostError>>,
    },
}

/// What others may see of a sandbox without asking its driver.
#[derive(Debug, Clone)]
pub struct View {
    pub report: Report,
    /// The secret of the agent, while the sandbox runs.
    pub token: Option<Arc<str>>,
    /// Its first process, for as long.
    pub process: Option<Arc<OwnedFd>>,
    /// What the sandbox was made from.
    pub image: Option<ImageDigest>,
    /// By what its use is looked at, while it has processes.
    pub(crate) occupied: Option<Arc<Occupied>>,
}

/// The view, as driver and readers share it.
pub type SharedView = Arc<RwLock<View>>;

#[derive(Debug)]
pub struct Driver {
    host: Arc<Host>,
    sandbox: SandboxId,
    generation: Generation,
    held: Held,
    view: SharedView,
    extras: Extras,
    /// What the last run used that this driver has seen end.
    last_run: Option<RunUsage>,
}

impl Driver {
    /// A driver for a sandbox that this host does not have.
    pub fn absent(host: Arc<Host>, sandbox: SandboxId) -> Self {
        Self::with(host, sandbox, Generation(0), Held::Absent { fault: None })
    }

    /// A driver for what the journal tells of. `pidfd` is that of the first process, if it still runs;
    /// `device` the one that stands on its disk, if one does.
    pub fn adopt(
        host: Arc<Host>,
        record: Record,
        pidfd: Option<OwnedFd>,
        fault: Option<Fault>,
        device: Option<LoopNumber>,
    ) -> Self {
        let (sandbox, generation) = (record.sandbox.clone(), record.generation);
        let held = match (&record.phase, pidfd) {
            (Phase::Running(running), Some(pidfd)) => {
                let running = running.clone();
                Held::Running(Box::new(Live {
                    record,
                    running,
                    pidfd: Arc::new(pidfd),
                }))
            }
            (phase, _) => {
                // What was being started, and a disk that was slow to go, may still be mounted somewhere:
                // the host knows, the record does not.
                let device = match phase {
                    Phase::Running(running) => LastDevice::Known(running.loop_device),
                    _ => device.map_or(LastDevice::Released, LastDevice::Known),
                };
                let why = fault.map_or(Why::Asked, Why::Ended);
                Held::Stopped {
                    record: Box::new(record),
                    device,
                    why,
                }
            }
        };
        Self::with(host, sandbox, generation, held)
    }

    /// A driver for a sandbox in the archive.
    pub fn archived(host: Arc<Host>, header: Header) -> Self {
        let (sandbox, generation) = (header.sandbox.clone(), header.generation);
        let fault = None;
        Self::with(host, sandbox, generation, Held::Archived { header, fault })
    }

    fn with(host: Arc<Host>, sandbox: SandboxId, generation: Generation, held: Held) -> Self {
        let report = Report {
            network_version: network_version(&held),
            ..Report::new(sandbox.clone(), generation, observed(&held))
        };
        let view = Arc::new(RwLock::new(View {
            report,
            token: token(&held),
            process: process(&held),
            image: image(&held),
            occupied: occupied(&held),
        }));
        Self {
            host,
            sandbox,
            generation,
            held,
            view,
            extras: Extras::default(),
            last_run: None,
        }
    }

    pub fn view(&self) -> SharedView {
        self.view.clone()
    }

    /// Works until the mailbox closes.
    pub async fn run(mut self, mailbox: mpsc::Receiver<Message>) {
        let mut inbox = Inbox::new(mailbox);
        loop {
            let message = match &self.held {
                Held::Running(live) => tokio::select! {
                    biased;
                    message = inbox.next() => message,
                    _ = crate::pidfd::ended(&live.pidfd) => {
                        Box::pin(self.ended_by_itself()).await;
                        continue;
                    }
                },
                _ => inbox.next().await,
            };
            let Some(message) = message else {
                return;
            };
            // Apart as well, so that a driver that waits does not hold the room for all its work.
            match message {
                Message::Order {
                    order,
                    runner,
                    answer,
                } => {
                    let result = Box::pin(self.apply(*order, &runner, &mut inbox)).await;
                    // Someone who no longer waits reads the inventory.
                    let _ = answer.send(result);
                }
                Message::BackUp { to, answer } => {
                    if !answer.is_closed() {
                        let result = Box::pin(self.back_up(&to, &mut inbox)).await;
                        let _ = answer.send(result);
                    }
                }
            }
        }
    }

    async fn apply(
        &mut self,
        order: Order,
        runner: &Runner,
        inbox: &mut Inbox,
    ) -> Result<Report, OrderError> {
        if order.generation < self.generation {
            return Err(OrderError::Stale {
                current: self.generation,
            });
        }
        self.generation = order.generation;
        let work = match order.goal {
            Goal::Running(spec) => {
                self.make_run(spec, inbox).await;
                None
            }
            Goal::Stopped { grace } => {
                self.make_stop(grace).await;
                None
            }
            Goal::Absent => {
                self.make_absent().await;
                None
            }
            goal => Some(self.work(goal, runner, inbox).await),
        };
        let report = self.publish();
        Ok(Report { work, ..report })
    }

    fn publish(&self) -> Report {
        let (sandbox, observed) = (self.sandbox.clone(), observed(&self.held));
        let report = Report {
            network_version: network_version(&self.held),
            used: self.used(),
            ..Report::new(sandbox, self.generation, observed)
        };
        let view = View {
            report: report.clone(),
            token: token(&self.held),
            process: process(&self.held),
            image: image(&self.held),
            occupied: occupied(&self.held),
        };
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        report
    }

    /// The held state, to be replaced before the next await that can fail.
    fn take_held(&mut self) -> Held {
        std::mem::replace(&mut self.held, Held::Absent { fault: None })
    }

    async fn make_run(&mut self, spec: SandboxSpec, inbox: &mut Inbox) {
        let host = self.host.clone();
        let _busy = host.warm.note_start();
        self.last_run = None;
        match self.take_held() {
            Held::Running(live) => {
                // An order can cross with the end of the process.
                if making::is_alive(&live.pidfd) {
                    self.held = Held::Running(live);
                    self.let_go_on(spec.network).await;
                } else {
                    self.held = self.wind_up(*live, Why::Asked).await;
                    Box::pin(self.make_run(spec, inbox)).await;
                }
            }
            Held::Archived { header, .. } => {
                self.held = self.restore(header, inbox).await;
                if matches!(self.held, Held::Stopped { .. }) {
                    Box::pin(self.make_run(spec, inbox)).await;
                }
            }
            Held::Absent { .. } if spec.disk == DiskOrigin::Existing => {
                let fault = Some(self.fault(&HostError::NoDisk));
                self.held = Held::Absent { fault };
            }
            Held::Absent { .. } => {
                self.held = match self.make_new(&spec).await {
                    Ok(made) => live(made),
                    Err(failed) => Held::Absent {
                        fault: Some(self.fault(&failed.error)),
                    },
                };
            }
            Held::Stopped { record, device, .. } => {
                let starting = Record {
                    generation: self.generation,
                    phase: Phase::Starting,
                    ..(*record).clone()
                };
                let result = self.make_again(&spec, starting, device).await;
                self.held = match result {
                    Ok(made) => live(made),
                    Err(failed) => {
                        let why = Why::StartFailed(self.fault(&failed.error));
                        let device = failed.busy.map_or(LastDevice::Released, LastDevice::Known);
                        self.stopped(*record, device, why).await
                    }
                };
            }
        }
    }

    fn fault(&self, error: &HostError) -> Fault {
        let fault = error.to_fault();
        tracing::warn!(
            sandbox.id = %self.sandbox,
            code = ?fault.code,
            "sandbox {} did not start: {}",
            self.sandbox,
            fault.message
        );
        fault
    }

    async fn make_again(
        &self,
        spec: &SandboxSpec,
        record: Record,
        last_device: LastDevice,
    ) -> Result<Made, Failed> {
        if let Err(error) = self.host.journal.write(&record) {
            // The disk is where it was.
            let busy = match last_device {
                LastDevice::Known(number) => Some(number),
                LastDevice::NoDisk | LastDevice::Released => None,
            };
            return Err(Failed {
                error: HostError::Journal(error),
                busy,
            });
        }
        let (host, sandbox) = (&*self.host, &self.sandbox);
        making::start(Start {
            host,
            sandbox,
            spec,
            record,
            last_device,
            extras: &self.extras,
        })
        .await
    }

    async fn make_stop(&mut self, grace: Duration) {
        match self.take_held() {
            Held::Running(live) => {
                // What counts it goes with the first process.
                let traffic = self.host.network.traffic_of(live.running.slot);
                self.end(&live, grace).await;
                self.held = self.wind_up(*live, Why::Asked).await;
                self.note_traffic(traffic);
            }
            Held::Stopped { record, device, .. } => {
                self.note_generation(&record).await;
                self.held = Held::Stopped {
                    record,
                    device,
                    why: Why::Asked,
                };
            }
            Held::Archived { header, .. } => {
                self.held = Held::Archived {
                    header,
                    fault: None,
                };
            }
            Held::Absent { .. } => {
                let fault = Fault {
                    code: FaultCode::Lost,
                    message: "the sandbox is not on this runner".to_owned(),
                };
                self.held = Held::Absent { fault: Some(fault) };
            }
        }
    }

    async fn make_absent(&mut self) {
        let (record, device) = match self.take_held() {
            Held::Running(live) => {
                self.end(&live, Duration::ZERO).await;
                let device = LastDevice::Known(live.running.loop_device);
                self.release(&live).await;
                (live.record, device)
            }
            Held::Stopped { record, device, .. } => (*record, device),
            Held::Archived { header, .. } => {
                if let Err(error) = self.host.archives.remove(&header.sandbox) {
                    tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove an archive");
                }
                return;
            }
            Held::Absent { .. } => {
                if let Some(parked) = self.host.warm.claim(&self.sandbox) {
                    making::discard(&self.host, parked).await;
                }
                return;
            }
        };
        if let LastDevice::Known(number) = device {
            // The ids of the range must not be given to another sandbox while this disk is still mounted.
            if let Err(error) = self
                .host
                .disk_pool
                .await_release(self.sandbox.as_str(), Some(number))
                .await
            {
                tracing::warn!(sandbox.id = %self.sandbox, %error, "a removed sandbox's disk is slow to go");
            }
        }
        if let Err(error) = self.host.disks.remove(self.sandbox.as_str()) {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove a disk");
        }
        making::forget(&self.host, &record);
    }

    /// Ends the first process, and with it all others of the sandbox.
    async fn end(&self, live: &Live, grace: Duration) {
        let wait = |limit| tokio::time::timeout(limit, crate::pidfd::ended(&live.pidfd));
        if live.running.hold != Hold::Nothing
            && let Err(error) = self.host.limits.group(&self.sandbox).thaw()
        {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot let a paused sandbox go on to its end");
        }
        if !grace.is_zero()
            && pidfd_send_signal(&live.pidfd, Signal::TERM).is_ok()
            && wait(grace).await.is_ok()
        {
            return;
        }
        // A process that is gone already needs no signal.
        let _ = pidfd_send_signal(&live.pidfd, Signal::KILL);
        if wait(KILL_DEADLINE).await.is_err() {
            tracing::error!(sandbox.id = %self.sandbox, pid = live.running.process.pid, "a killed sandbox does not end");
        }
    }

    async fn ended_by_itself(&mut self) {
        let Held::Running(live) = self.take_held() else {
            return;
        };
        let group = self.host.limits.group(&self.sandbox);
        let status = self
            .host
            .spawner
            .exit_status(live.running.process.pid, EXIT_STATUS_LIMIT)
            .await;
        let fault = ending_fault(status, group.had_oom_kill());
        tracing::warn!(
            sandbox.id = %self.sandbox,
            code = ?fault.code,
            "sandbox {} ended: {}",
            self.sandbox,
            fault.message
        );
        self.held = self.wind_up(*live, Why::Ended(fault)).await;
        let report = self.publish();
        // Full means that the control plane is behind; it compares inventories when it catches up.
        if self.host.reports.try_send(report).is_err() {
            tracing::warn!(sandbox.id = %self.sandbox, "a report was not taken; the inventory will tell");
        }
    }
}
