//! The runner: takes orders for all sandboxes of this host, and tells what is on it.

mod collect;
mod config;
mod dial;
mod host_status;
mod orders;
mod samples;
mod take_over;
mod volumes;
mod warm;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alcove_domain::SandboxId;
use alcove_runner_api::{
    Build, BuildLogPiece, BuildOutcome, Fetch, FetchError, Generation, ImageEntry, Observed,
    OrderError, Pull, PullState, Report, Sighting,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::config::part;
pub use self::config::{OpenError, Programs, RunnerConfig};
pub use self::dial::DialError;
pub use self::host_status::HostSize;
pub(crate) use self::samples::Occupied;
use self::take_over::Found;
use crate::archive::Archives;
use crate::build::{BuildParts, Builds};
use crate::disk::Disks;
use crate::disk_layers::DiskLayers;
use crate::disk_pool::DiskPool;
use crate::driver::{Driver, Message, SharedView};
use crate::host::Host;
use crate::image::{self, ImageStore};
use crate::journal::Journal;
use crate::limits::Limits;
use crate::mounts::Mounts;
use crate::net::{InsideDoor, Network};
use crate::pulls::Pulls;
use crate::ranges::Ranges;
use crate::sources::{Pieces, Sources};
use crate::spawner_client::{SpawnerClient, SpawnerPlace};
use crate::volumes::Volumes;
use crate::warm_pool::WarmPool;

/// Orders that may wait for one driver. The control plane sends one at a time.
const MAILBOX: usize = 16;

/// Unasked reports that may wait for the control plane; the rest it learns from the inventory.
const REPORTS: usize = 1024;

/// Pause between two parts that are made ahead, so that a refill does not stand in the way of creates.
const REFILL_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) enum Entry {
    Driven {
        mailbox: mpsc::Sender<Message>,
        view: SharedView,
    },
    /// Removed. An order older than this is stale.
    Tombstone(Generation),
}

#[derive(Debug)]
struct Inner {
    host: Arc<Host>,
    entries: Mutex<HashMap<SandboxId, Entry>>,
    builds: Arc<Builds>,
    reports: Mutex<Option<mpsc::Receiver<Report>>>,
    pulls: Arc<Pulls>,
    sources: Sources,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Held by who must not have images taken away.
    collecting: Arc<tokio::sync::Mutex<()>>,
}

/// A cheap handle; all copies are the same runner.
#[derive(Debug, Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

impl Runner {
    /// Takes over what an earlier runner left running in this data folder, takes apart what it left
    /// half-made, and starts the pools.
    pub async fn open(config: RunnerConfig) -> Result<Self, OpenError> {
        let folder = |name: &str| ensure_private(&config.data_dir.join(name));
        let base = folder("runner")?;
        let sub = |name: &str| ensure_private(&base.join(name));
        let (log_folder, layer_folder, scratch) =
            (sub("logs")?, sub("host-layer")?, sub("scratch")?);
        let sockets_path = folder("run")?;
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let sockets = rustix::fs::open(&sockets_path, flags, rustix::fs::Mode::empty())
            .map_err(|e| part("open the folder of sockets")(io::Error::from(e)))?;
        let agent_program =
            fs::File::open(&config.programs.agent).map_err(part("open the agent's program"))?;
        let git_program =
            fs::File::open(&config.programs.git).map_err(part("open the git program"))?;

        let (journal, records) =
            Journal::open(sub("journal")?).map_err(part("open the journal"))?;
        let aside = journal
            .set_aside()
            .map_err(part("list what was set aside"))?;
        let disks = Arc::new(Disks::open(sub("disks")?).map_err(part("open the folder of disks"))?);
        let image_limits = image::Limits {
            disk_reserve_bytes: config.bounds.disk_reserve_bytes,
            ..image::Limits::default()
        };
        let images = ImageStore::open_with(&folder("images")?, image_limits)
            .map_err(part("open the image store"))?
            .with_faults(config.faults.clone());
        let (archives, in_archive) =
            Archives::open(folder("archive")?).map_err(part("open the archive"))?;
        let limits =
            Limits::open(&config.cgroup_parent).map_err(part("open the control groups"))?;
        let mounts = Mounts::start(scratch)
            .await
            .map_err(part("start the mount thread"))?;
        let volumes = Volumes::open(sub("volumes")?, mounts.clone(), config.faults.clone())
            .map_err(part("open the folder of volumes"))?;
        let caches = Volumes::open(sub("caches")?, mounts.clone(), config.faults.clone())
            .map_err(part("open the folder of caches"))?;
        let place = SpawnerPlace {
            program: config.programs.spawner.clone(),
            folder: sockets_path,
            log: base.join("spawner.log"),
        };
        let spawner = SpawnerClient::open(place)
            .await
            .map_err(part("reach a spawner"))?;

        let found: Vec<Found> = records
            .into_iter()
            .map(|record| Found::look(record, &limits))
            .collect();
        let running: Vec<_> = found.iter().filter_map(Found::slot).collect();
        let network = Network::open(config.network.clone(), &running)
            .await
            .map_err(part("set up the network"))?;
        let inside =
            InsideDoor::open().map_err(part("start the thread for sockets in sandboxes"))?;
        let ranges = Ranges::new(take_over::ranges(&found, &aside));
        let disk_pool = DiskPool::new(disks.clone(), mounts.clone(), config.ready_disk_bytes);
        let disk_layers = DiskLayers::new(mounts.clone());
        let (report_to, reports) = mpsc::channel(REPORTS);
        let images = Arc::new(images);
        let pulls = Arc::new(Pulls::new(Arc::clone(&images), config.registries.clone()));
        let host = Arc::new(Host {
            bounds: config.bounds.clone(),
            journal,
            limits,
            mounts,
            disks,
            disk_pool,
            disk_layers,
            volumes,
            spawner,
            network,
            inside,
            ranges,
            images,
            archives: Arc::new(archives),
            warm: WarmPool::default(),
            egress: config.egress.clone(),
            data_dir: config.data_dir.clone(),
            log_folder,
            layer_folder,
            sockets,
            agent_program: agent_program.into(),
            git_program: git_program.into(),
            faults: config.faults.clone(),
            reports: report_to,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let builds = Builds::new(
            host.clone(),
            BuildParts {
                contexts: config.contexts.clone(),
                pulls: Arc::clone(&pulls),
                caches,
                logs: folder("builds")?,
            },
            stop.clone(),
            tasks.clone(),
        );
        let runner = Self {
            inner: Arc::new(Inner {
                host,
                entries: Mutex::default(),
                builds: Arc::new(builds),
                reports: Mutex::new(Some(reports)),
                pulls,
                sources: Sources::new(&config.source_hosts),
                stop,
                tasks,
                collecting: Arc::default(),
            }),
        };
        let let_go = runner.inner.host.volumes.let_go().await;
        let_go.map_err(part("let go of volumes"))?;
        runner.take_over(found, aside, in_archive).await?;
        runner.start_refill(config.ready_parts);
        runner.start_warming();
        Ok(runner)
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, HashMap<SandboxId, Entry>> {
        self.inner
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.inner.host
    }

    pub(crate) fn collecting(&self) -> &Arc<tokio::sync::Mutex<()>> {
        &self.inner.collecting
    }

    fn start_driver(
        &self,
        entries: &mut HashMap<SandboxId, Entry>,
        sandbox: SandboxId,
        driver: Driver,
    ) -> mpsc::Sender<Message> {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let entry = Entry::Driven {
            mailbox: mailbox.clone(),
            view: driver.view(),
        };
        entries.insert(sandbox, entry);
        self.inner.tasks.spawn(driver.run(messages));
        mailbox
    }

    fn start_refill(&self, target: usize) {
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            let refill = async {
                loop {
                    let host = &inner.host;
                    let (range, disk) = (
                        host.ranges.refill(&host.spawner, target).await,
                        host.disk_pool.refill(target).await,
                    );
                    let mut did_something = false;
                    match range {
                        Ok(more) => did_something |= more,
                        Err(error) => tracing::warn!(%error, "cannot make an id range ahead"),
                    }
                    match disk {
                        Ok(more) => did_something |= more,
                        Err(error) => tracing::warn!(%error, "cannot make a disk ahead"),
                    }
                    let pause = if did_something {
                        REFILL_PAUSE
                    } else {
                        REFILL_PAUSE * 5
                    };
                    tokio::time::sleep(pause).await;
                }
            };
            inner.stop.run_until_cancelled(refill).await;
        });
    }

    /// What is on this host.
    pub fn inventory(&self) -> Vec<Report> {
        let entries = self.entries();
        let views = entries.values().filter_map(|entry| match entry {
            Entry::Driven { view, .. } => Some(view),
            Entry::Tombstone(_) => None,
        });
        views
            .map(|view| {
                view.read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .report
                    .clone()
            })
            .filter(|report| report.observed != Observed::Absent)
            .collect()
    }

    /// The stream of unasked reports. There is one; the first caller gets it.
    pub fn take_reports(&self) -> Option<mpsc::Receiver<Report>> {
        self.inner
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Builds an image, or waits for the build of this id that is under way. Dropping the future does not end it.
    pub async fn build(&self, order: Build) -> Result<BuildOutcome, OrderError> {
        if self.inner.stop.is_cancelled() {
            return Err(OrderError::Unavailable);
        }
        self.inner
            .builds
            .build(order)
            .await
            .ok_or(OrderError::Unavailable)
    }

    /// What sandboxes wanted of the network since the last time that this was asked.
    pub async fn take_sightings(&self) -> Vec<Sighting> {
        self.inner.host.network.take_sightings().await
    }

    /// Ends a build, if it is under way.
    pub fn cancel_build(&self, id: &str) {
        self.inner.builds.cancel(id);
    }

    /// The next piece of a build's log, from this byte on. With `waits`, waits for one while the build runs here.
    pub async fn build_log(&self, id: &str, from: u64, waits: bool) -> io::Result<BuildLogPiece> {
        self.inner.builds.log(id, from, waits).await
    }

    /// Removes the log of a build that is gone.
    pub async fn forget_build(&self, id: &str) -> io::Result<()> {
        self.inner.builds.forget(id).await
    }

    /// Images that sandboxes can be made from.
    pub fn images(&self) -> Vec<ImageEntry> {
        self.inner.host.images.list()
    }

    /// Brings an image into the store. Blocks for as long as unpacking takes.
    pub fn import_image(
        &self,
        archive: &Path,
        name: &str,
    ) -> Result<ImageEntry, crate::image::ImageError> {
        self.inner.host.images.import_oci(archive, name)
    }

    /// Begins to bring an image from a registry, or finds the pull that is under way for its name. It goes on when
    /// nobody listens.
    pub fn pull(&self, order: Pull) -> Result<watch::Receiver<PullState>, OrderError> {
        if self.inner.stop.is_cancelled() {
            return Err(OrderError::Unavailable);
        }
        self.inner.pulls.start(order)
    }

    /// Fetches a file from an address outside.
    pub async fn fetch(&self, order: Fetch) -> Result<Pieces, FetchError> {
        self.inner.sources.fetch(order).await
    }

    /// Memory charged to a running sandbox, in bytes.
    pub fn memory_bytes(&self, sandbox: &SandboxId) -> Option<u64> {
        self.inner.host.limits.group(sandbox).memory_bytes()
    }

    /// The process number of the spawner.
    pub async fn spawner_pid(&self) -> Option<i32> {
        self.inner.host.spawner.pid().await.ok()
    }

    /// Sandboxes that run.
    pub fn running_count(&self) -> usize {
        self.inventory()
            .iter()
            .filter(|r| matches!(r.observed, Observed::Running { .. }))
            .count()
    }

    /// Stops working. Sandboxes that run keep running, with the spawner and their network; when none does,
    /// nothing stays on the host but files in the data folder.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        // Drivers end when their mailboxes do, after the order at hand.
        let runs = self.running_count();
        self.entries().clear();
        self.inner.pulls.close().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        let host = &self.inner.host;
        host.warm.close(host).await;
        host.disk_pool.drain().await;
        if let Err(error) = host.network.close().await {
            tracing::error!(error = %error, "cannot take the network down");
        }
        host.limits.close();
        if runs == 0 {
            host.spawner.quit().await;
        }
    }
}

fn ensure_private(path: &Path) -> Result<PathBuf, OpenError> {
    let failed = |step| {
        move |source| OpenError::Folder {
            step,
            path: path.to_owned(),
            source,
        }
    };
    fs::create_dir_all(path).map_err(failed("make the folder"))?;
    // What is inside is nobody else's business: set-user-id files of images, sockets, secrets.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("close off"))?;
    Ok(path.to_owned())
}
