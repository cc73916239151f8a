//! A sandbox that is one step of a build. Who builds holds its driver and calls it; it has no mailbox, and the control
//! plane never hears of it.

use std::sync::Arc;

use alcove_runner_api::{ImageEntry, SandboxSpec};

use super::Driver;
use super::held::{Held, live, token};
use crate::cancel::Cancel;
use crate::disk_pool::{AttachedDisk, blocking};
use crate::faults::Step;
use crate::host::HostError;
use crate::image::Sha256Digest;
use crate::making::{Extras, LastDevice};
use crate::mounts::remove_points;

impl Driver {
    /// Makes the sandbox and returns the secret of its agent.
    pub(crate) async fn step_start(
        &mut self,
        spec: &SandboxSpec,
        extras: Extras,
    ) -> Result<Arc<str>, HostError> {
        self.extras = extras;
        match self.make_new(spec).await {
            Ok(made) => self.held = live(made),
            Err(failed) => return Err(failed.error),
        }
        token(&self.held).ok_or_else(|| self.not("running"))
    }

    /// Ends it, and makes an image of this name of the layers that it was made on, and one of what it has written.
    pub(crate) async fn step_capture(
        &mut self,
        name: String,
        layers: Vec<Sha256Digest>,
        cancel: &Cancel,
    ) -> Result<ImageEntry, HostError> {
        self.make_stop(std::time::Duration::ZERO).await;
        let Held::Stopped { record, device, .. } = &self.held else {
            return Err(self.not("stopped"));
        };
        let (digest, device) = (record.image.clone(), *device);
        self.release_disk(device).await?;
        let images = self.host.images.clone();
        let image = images.get(&digest).ok_or(HostError::ImageMissing {
            digest: digest.0.clone(),
        })?;
        let (pool, disk) = (&self.host.disk_pool, self.sandbox.as_str());
        let AttachedDisk { mounted, number } =
            pool.attach(disk, None).await.map_err(HostError::Disk)?;
        if let Held::Stopped { device, .. } = &mut self.held {
            *device = LastDevice::Known(number);
        }
        let mounts = self.host.mounts.clone();
        let made = self.extras.made.clone();
        let disk_layers = &self.host.disk_layers;
        let prepared = async {
            let disk = mounts
                .open_disk(mounted.clone())
                .await
                .map_err(HostError::Mount)?;
            blocking(move || take_points_away(&disk, &made))
                .await
                .map_err(HostError::Disk)??;
            let below = disk_layers.attach(&image.layers).await;
            let below = below.map_err(HostError::Disk)?;
            let view = mounts
                .view(mounted.clone(), image.layers.clone(), below.clone())
                .await;
            disk_layers.release(&below).await;
            view.map_err(HostError::Mount)
        };
        let view = prepared.await;
        // The view keeps the disk mounted for as long as it is needed.
        if let Err(error) = mounts.release_disk(mounted).await {
            tracing::error!(sandbox.id = %self.sandbox, %error, "cannot unmount a disk that was captured");
        }
        let view = view?;
        let cancel = cancel.clone();
        let captured = blocking(move || {
            let captured = images.capture_step(&name, &layers, &view, &cancel);
            captured.map_err(HostError::Capture)
        });
        let image = captured.await.map_err(HostError::Disk)??;
        self.hit(Step::Captured)?;
        Ok(image)
    }

    /// Removes it with all that is left of it. Safe to call in every state.
    pub(crate) async fn step_remove(&mut self) {
        self.make_absent().await;
    }
}

fn take_points_away(
    disk: &impl std::os::fd::AsFd,
    made: &crate::mounts::MadePoints,
) -> Result<(), HostError> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = openat(disk, "upper", flags, Mode::empty()).map_err(|error| HostError::Io {
        step: "open the writable layer",
        source: error.into(),
    })?;
    remove_points(&upper, made);
    Ok(())
}
