//! What is made of a sandbox that exists: paused, resized, captured, copied, archived, brought back.
//!
//! Long work runs on a thread of its own and ends early when a newer order comes. Whatever fails, or is cut
//! short, leaves the sandbox as it was.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use alcove_domain::SandboxId;
use alcove_runner_api::{Generation, Goal, NetworkSpec, Work};

use super::Driver;
use super::held::{Held, Live, Why};
use super::inbox::Inbox;
use crate::archive::Header;
use crate::cancel::Cancel;
use crate::disk;
use crate::disk_pool::blocking;
use crate::faults::Step;
use crate::host::{HostError, admit};
use crate::journal::{Hold, Phase, Record, Running};
use crate::limits::Group;
use crate::making::LastDevice;
use crate::runner::Runner;

impl Driver {
    /// Works off an order that leaves the sandbox what it is, apart from what is ordered.
    pub(super) async fn work(&mut self, goal: Goal, runner: &Runner, inbox: &mut Inbox) -> Work {
        let result = match goal {
            Goal::Paused => self.pause().await.map(|()| None),
            Goal::Archived => self.archive(inbox).await.map(|()| None),
            Goal::Networked(network) => self.network(network).await.map(|()| None),
            Goal::Resized(resources) => self.resize(resources, inbox).await.map(|()| None),
            Goal::Captured { name } => self.capture(name, inbox).await.map(Some),
            Goal::Copied {
                child,
                child_generation,
            } if runner.has_copy(&child, child_generation) => Ok(None),
            Goal::Copied {
                child,
                child_generation,
            } => {
                let copied = self.copy(child, child_generation, inbox).await;
                copied.map(|record| {
                    runner.take_in_child(record);
                    None
                })
            }
            Goal::Running(_) | Goal::Stopped { .. } | Goal::Absent => Ok(None),
        };
        match result {
            Ok(image) => Work::Done { image },
            Err(error) => {
                let fault = error.to_fault();
                tracing::warn!(
                    sandbox.id = %self.sandbox,
                    code = ?fault.code,
                    "sandbox {} stays as it was: {}",
                    self.sandbox,
                    fault.message
                );
                Work::Undone { fault }
            }
        }
    }

    pub(super) fn hit(&self, step: Step) -> Result<(), HostError> {
        self.host.faults.at(step).map_err(|source| HostError::Io {
            step: "pass a fault point",
            source,
        })
    }

    pub(super) fn not(&self, wanted: &'static str) -> HostError {
        let is = self.held.word();
        HostError::NotSettled { is, wanted }
    }

    /// Runs blocking work, and tells it when a newer order has come.
    pub(super) async fn long<T: Send + 'static>(
        &self,
        inbox: &mut Inbox,
        work: impl FnOnce(&Cancel) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let cancel = Cancel::default();
        let flag = cancel.clone();
        let working = blocking(move || work(&flag));
        tokio::pin!(working);
        let ended = tokio::select! {
            ended = &mut working => ended,
            () = inbox.newer(self.generation) => {
                cancel.cancel();
                working.await
            }
        };
        ended.map_err(HostError::Disk)?
    }

    async fn pause(&mut self) -> Result<(), HostError> {
        let Held::Running(live) = &mut self.held else {
            return Err(self.not("running"));
        };
        if live.running.hold == Hold::Processes {
            return Ok(());
        }
        let group = self.host.limits.group(&self.sandbox);
        let record = held_record(live, self.generation, Hold::Processes);
        self.host
            .journal
            .write(&record)
            .map_err(HostError::Journal)?;
        note_hold(live, self.generation, Hold::Processes);
        let frozen = self.freeze(group).await;
        if frozen.is_err() {
            // It goes on, and its record says so.
            self.thaw();
        }
        frozen
    }

    async fn freeze(&self, group: Group) -> Result<(), HostError> {
        self.hit(Step::HoldNoted)?;
        let frozen = blocking(move || group.freeze()).await;
        frozen
            .map_err(HostError::Disk)?
            .map_err(HostError::Limits)?;
        self.hit(Step::Held)
    }

    /// Lets the processes of a running sandbox go on, if they are held, under the policy that is ordered, and notes the
    /// generation.
    pub(super) async fn let_go_on(&mut self, network: NetworkSpec) {
        match self.network(network).await {
            Ok(()) => self.thaw(),
            // The report says that it is held still, or which policy it runs under. Both are ordered again.
            Err(error) => {
                tracing::error!(sandbox.id = %self.sandbox, %error, "cannot set what a sandbox may reach");
            }
        }
    }

    fn thaw(&mut self) {
        let group = self.host.limits.group(&self.sandbox);
        let Held::Running(live) = &mut self.held else {
            return;
        };
        if live.running.hold == Hold::Processes
            && let Err(error) = group.thaw()
        {
            // The report says that it is held still.
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot let a paused sandbox go on");
            return;
        }
        note_hold(live, self.generation, Hold::Nothing);
        let record = live.record.clone();
        if let Err(error) = self.host.journal.write(&record) {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot write the journal");
        }
    }

    /// A stopped sandbox's disk must not be read before the kernel has let go of it.
    pub(super) async fn release_disk(&self, device: LastDevice) -> Result<(), HostError> {
        let number = match device {
            LastDevice::Known(number) => Some(number),
            LastDevice::NoDisk | LastDevice::Released => None,
        };
        self.host
            .disk_pool
            .await_release(self.sandbox.as_str(), number)
            .await
            .map_err(HostError::Disk)
    }

    /// A copy of the disk as it is at one moment, in this file, but not synced yet. A running sandbox's writers wait
    /// meanwhile.
    pub(super) async fn copy_disk(
        &mut self,
        to: &Path,
        inbox: &mut Inbox,
    ) -> Result<(), HostError> {
        admit(&self.host.bounds, &self.host.data_dir)?;
        self.copy_disk_anywhere(to, inbox).await
    }

    /// The same, whatever room the host's own disk has.
    pub(super) async fn copy_disk_anywhere(
        &mut self,
        to: &Path,
        inbox: &mut Inbox,
    ) -> Result<(), HostError> {
        let device = match &self.held {
            Held::Running(live) => live.running.loop_device,
            Held::Stopped { device, .. } => {
                self.release_disk(*device).await?;
                return self.copy_file(to, inbox).await;
            }
            Held::Absent { .. } | Held::Archived { .. } => {
                return Err(self.not("running or stopped"));
            }
        };
        // A second mount of the same device is the same file system.
        let mounts = self.host.mounts.clone();
        let mounted = mounts
            .mount_disk(device.path())
            .await
            .map_err(HostError::Mount)?;
        let copied = match mounts.open_disk(mounted.clone()).await {
            Ok(folder) => self.copy_held(folder, to, inbox).await,
            Err(error) => Err(HostError::Mount(error)),
        };
        if let Err(error) = mounts.release_disk(mounted).await {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot unmount a disk that was copied");
        }
        copied
    }

    async fn copy_held(
        &mut self,
        folder: OwnedFd,
        to: &Path,
        inbox: &mut Inbox,
    ) -> Result<(), HostError> {
        let Held::Running(live) = &mut self.held else {
            return Err(self.not("running"));
        };
        let before = live.running.hold;
        if before == Hold::Nothing {
            let record = held_record(live, self.generation, Hold::FileSystem);
            self.host
                .journal
                .write(&record)
                .map_err(HostError::Journal)?;
            note_hold(live, self.generation, Hold::FileSystem);
        }
        let folder = Arc::new(folder);
        let held = folder.clone();
        let held = blocking(move || disk::hold(&held)).await;
        let copied = match held {
            Ok(Ok(())) => self.copy_file(to, inbox).await,
            Ok(Err(source)) => Err(HostError::Io {
                step: "hold the file system still",
                source,
            }),
            Err(error) => Err(HostError::Disk(error)),
        };
        let let_go = blocking(move || disk::let_go(&folder)).await;
        if let Err(error) = let_go.map_err(std::io::Error::other).and_then(|r| r) {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot let a file system go");
        }
        if let Held::Running(live) = &mut self.held {
            note_hold(live, self.generation, before);
            let record = live.record.clone();
            if let Err(error) = self.host.journal.write(&record) {
                // The next server lets the file system go once more, which does no harm.
                tracing::error!(sandbox.id = %self.sandbox, %error, "cannot write the journal");
            }
        }
        copied
    }

    async fn copy_file(&self, to: &Path, inbox: &mut Inbox) -> Result<(), HostError> {
        let (disks, name) = (self.host.disks.clone(), self.sandbox.to_string());
        let to = to.to_owned();
        self.long(inbox, move |cancel| {
            disks
                .copy_to(&name, &to, cancel)
                .map_err(HostError::ChangeDisk)
        })
        .await?;
        self.hit(Step::DiskCopied)
    }

    async fn copy(
        &mut self,
        child: SandboxId,
        child_generation: Generation,
        inbox: &mut Inbox,
    ) -> Result<Record, HostError> {
        let image = self.image()?;
        let draft = self.host.disks.draft();
        self.copy_disk(draft.path(), inbox).await?;
        let host = &self.host;
        let full = |e| HostError::Range(crate::ranges::MakeRangeError::Full(e));
        let range = host.ranges.claim().map_err(full)?;
        let record = Record {
            phase: Phase::Stopped { fault: None },
            is_copy: true,
            ..Record::new(child.clone(), child_generation, range, image)
        };
        // The disk before the record: a record without a disk would be a sandbox without files.
        let (maker, name, written) = (host.clone(), child.to_string(), record.clone());
        let settled = blocking(move || {
            let settled = maker.disks.settle(&draft, &name);
            settled.map_err(HostError::ChangeDisk)?;
            maker.journal.write(&written).map_err(HostError::Journal)
        })
        .await
        .map_err(HostError::Disk)
        .and_then(|settled| settled)
        .and_then(|()| self.hit(Step::ChildRecorded));
        if settled.is_err() {
            let _ = host.journal.remove(&child);
            if let Err(error) = host.disks.remove(child.as_str()) {
                tracing::error!(sandbox.id = %child, %error, "cannot remove the disk of a fork");
            }
            host.ranges.release(range);
        }
        settled.map(|()| record)
    }

    pub(super) fn image(&self) -> Result<alcove_runner_api::ImageDigest, HostError> {
        match &self.held {
            Held::Running(live) => Ok(live.record.image.clone()),
            Held::Stopped { record, .. } => Ok(record.image.clone()),
            Held::Absent { .. } | Held::Archived { .. } => Err(self.not("running or stopped")),
        }
    }

    async fn archive(&mut self, inbox: &mut Inbox) -> Result<(), HostError> {
        let record = match &self.held {
            Held::Archived { .. } => return Ok(()),
            Held::Stopped { record, device, .. } => {
                self.release_disk(*device).await?;
                record.clone()
            }
            Held::Absent { .. } | Held::Running(_) => return Err(self.not("stopped")),
        };
        let host = &self.host;
        let name = self.sandbox.to_string();
        let bytes = host.disks.size(&name).map_err(HostError::ChangeDisk)?;
        let image = record.image.clone();
        let header = Header::new(self.sandbox.clone(), self.generation, image, bytes);
        let (archives, path) = (host.archives.clone(), host.disks.path(&name));
        let written = header.clone();
        self.long(inbox, move |cancel| {
            archives
                .write(&written, &path, cancel)
                .map_err(HostError::Archive)
        })
        .await?;
        if let Err(error) = self.hit(Step::ArchiveWritten) {
            self.remove_archive();
            return Err(error);
        }
        // From the removal of the record on, the archive is the sandbox.
        if let Err(error) = host.journal.remove(&self.sandbox) {
            self.remove_archive();
            return Err(HostError::Journal(error));
        }
        let settled = self.hit(Step::ArchiveSettled);
        if let Err(error) = host.disks.remove(&name) {
            // The next start of the runner removes it.
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove the disk of an archived sandbox");
        }
        host.ranges.release(record.range);
        self.held = Held::Archived {
            header,
            fault: None,
        };
        // Too late to fail: it is archived.
        drop(settled);
        Ok(())
    }

    fn remove_archive(&self) {
        if let Err(error) = self.host.archives.remove(&self.sandbox) {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove an archive");
        }
    }

    /// Brings the disk back: the sandbox is stopped then, or in the archive still.
    pub(super) async fn restore(&mut self, header: Header, inbox: &mut Inbox) -> Held {
        match self.try_restore(&header, inbox).await {
            Ok(record) => Held::Stopped {
                record: Box::new(record),
                device: LastDevice::Released,
                why: Why::Asked,
            },
            Err(error) => {
                let fault = Some(self.fault(&error));
                Held::Archived { header, fault }
            }
        }
    }

    async fn try_restore(&self, header: &Header, inbox: &mut Inbox) -> Result<Record, HostError> {
        let host = &self.host;
        admit(&host.bounds, &host.data_dir)?;
        let (archives, disks) = (host.archives.clone(), host.disks.clone());
        let (reading, name) = (header.clone(), self.sandbox.to_string());
        let faults = host.faults.clone();
        self.long(inbox, move |cancel| {
            let draft = disks.draft();
            archives
                .read(&reading, draft.path(), cancel)
                .map_err(HostError::Archive)?;
            faults
                .at(Step::RestoreWritten)
                .map_err(|source| HostError::Io {
                    step: "pass a fault point",
                    source,
                })?;
            disks.settle(&draft, &name).map_err(HostError::ChangeDisk)
        })
        .await?;
        let recorded = self.record_restored(header).await;
        if recorded.is_err() {
            // The archive is the sandbox still.
            if let Err(error) = host.disks.remove(self.sandbox.as_str()) {
                tracing::error!(sandbox.id = %self.sandbox, %error, "cannot remove a disk that was brought back");
            }
            return recorded;
        }
        // The record must not be lost to a loss of power once the archive is gone.
        let archives = host.archives.clone();
        let synced = blocking(move || archives.sync_all()).await;
        match synced {
            Ok(Ok(())) => self.remove_archive(),
            // Both stay; the record counts, and the next start of the runner removes the archive.
            Ok(Err(error)) => {
                tracing::error!(sandbox.id = %self.sandbox, %error, "cannot sync a disk that was brought back");
            }
            Err(error) => {
                tracing::error!(sandbox.id = %self.sandbox, %error, "cannot sync a disk that was brought back");
            }
        }
        recorded
    }

    async fn record_restored(&self, header: &Header) -> Result<Record, HostError> {
        let host = &self.host;
        let full = |e| HostError::Range(crate::ranges::MakeRangeError::Full(e));
        let range = host.ranges.claim().map_err(full)?;
        let (sandbox, image) = (self.sandbox.clone(), header.image.clone());
        let record = Record {
            phase: Phase::Stopped { fault: None },
            ..Record::new(sandbox, self.generation, range, image)
        };
        let written = self.write_down(record.clone()).await;
        let written = written.and_then(|()| self.hit(Step::RestoreRecorded));
        if written.is_err() {
            let _ = host.journal.remove(&self.sandbox);
            host.ranges.release(range);
        }
        written.map(|()| record)
    }
}

/// The record that says what is held.
fn held_record(live: &Live, generation: Generation, hold: Hold) -> Record {
    let running = Running {
        hold,
        ..live.running.clone()
    };
    Record {
        generation,
        phase: Phase::Running(running),
        ..live.record.clone()
    }
}

/// What is held, in the record and out of it.
fn note_hold(live: &mut Live, generation: Generation, hold: Hold) {
    live.running.hold = hold;
    live.record = held_record(live, generation, hold);
}

/// Lets go of a file system that a server held when it was killed.
pub(crate) async fn let_go_of_copied(
    host: &crate::host::Host,
    number: disk::LoopNumber,
) -> Result<(), HostError> {
    let mounts = &host.mounts;
    let mounted = mounts
        .mount_disk(number.path())
        .await
        .map_err(HostError::Mount)?;
    let let_go = match mounts.open_disk(mounted.clone()).await {
        Ok(folder) => blocking(move || disk::let_go(&folder))
            .await
            .map_err(HostError::Disk)
            .and_then(|done| {
                done.map_err(|source| HostError::Io {
                    step: "let the file system go",
                    source,
                })
            }),
        Err(error) => Err(HostError::Mount(error)),
    };
    let released = mounts.release_disk(mounted).await;
    let_go.and(released.map_err(HostError::Mount))
}
