//! Making a backup, in the server that is to be backed up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alcove_control::{Clock as _, SystemClock};
use alcove_runner::disk::ranges;
use anyhow::{Context as _, bail};
use tokio::sync::mpsc;

use super::manifest::Manifest;
use super::{BackUp, DATABASE, Draft, KEYS, TLS, private};
use crate::operator::Operator;

const STORAGE: &str = "storage";
/// What has no name yet is acknowledged to nobody.
const PASSED_OVER: [&str; 2] = ["drafts", "lock"];

/// Writes all that there is into a new folder. Who does not wait for it gives it up, and nothing of it stays.
pub async fn make(
    operator: &Operator,
    order: BackUp,
    notes: mpsc::Sender<String>,
) -> anyhow::Result<String> {
    let BackUp {
        target,
        with_disks,
        with_keys,
    } = order;
    refuse(&target, &operator.data_dir)?;
    let draft = Draft::beside(&target)?;
    let to = draft.path().to_owned();
    let note = |text: String| {
        // Who does not read them misses some.
        let _ = notes.try_send(text);
    };

    // In this order: what the database names is in the copies that are made after it, as long as nothing is taken away.
    let images = operator.runner.hold_images().await;
    let keys = operator.control.hold_sealing_keys().await;
    if with_keys {
        for name in KEYS {
            copy_if_there(&operator.data_dir.join(name), &to.join(name))?;
        }
        copy_tree(&operator.data_dir.join(TLS), &to.join(TLS), &Left::never())?;
    }
    let copied = operator.store.copy_to(&to.join(DATABASE)).await;
    copied.context("cannot copy the database")?;
    drop(keys);
    note("the database is copied".to_owned());
    let counts = operator.runner.back_up(&to, with_disks, note).await?;
    drop(images);

    let left = LeftOnDrop(Left::default());
    let (storage, into) = (operator.data_dir.join(STORAGE), to.join(STORAGE));
    let mut manifest = Manifest::new(
        with_keys,
        with_disks,
        operator.has_foreign_objects,
        SystemClock::default().now(),
    );
    let flag = left.0.clone();
    let finish = tokio::task::spawn_blocking(move || {
        copy_tree(&storage, &into, &flag).context("cannot copy the objects")?;
        manifest.add_all(draft.path())?;
        manifest.write(draft.path())?;
        flag.check()?;
        let bytes: u64 = manifest.files.iter().map(|item| item.bytes).sum();
        let count = manifest.files.len();
        draft.settle(&target)?;
        anyhow::Ok((target, count, bytes))
    });
    let (target, count, bytes) = finish.await.context("the task that does it broke off")??;
    let mut text = format!(
        "{} has {} sandboxes, {} volumes and all else that the server has: {count} files of {} MiB, holes included",
        target.display(),
        counts.sandboxes,
        counts.volumes,
        bytes >> 20,
    );
    if !with_disks {
        text.push_str("\nwithout the disks of sandboxes");
    }
    if !with_keys {
        text.push_str("\nwithout keys: what is sealed can only be read with sealing.key");
    }
    if operator.has_foreign_objects {
        text.push_str("\nwithout the objects in the other store");
    }
    Ok(text)
}

fn refuse(target: &Path, data_dir: &Path) -> anyhow::Result<()> {
    if !target.is_absolute() {
        bail!("the path of the backup must be absolute");
    }
    if target.symlink_metadata().is_ok() {
        bail!("{} is there already", target.display());
    }
    let parent = target.parent().context("the backup has no folder")?;
    let parent = fs::canonicalize(parent)
        .with_context(|| format!("there is no folder {}", parent.display()))?;
    if parent.starts_with(data_dir) {
        bail!("a backup does not belong into the data folder");
    }
    Ok(())
}

/// A flag by which a thread learns that nobody waits for it.
#[derive(Clone, Default)]
struct Left(Arc<AtomicBool>);

impl Left {
    fn never() -> Self {
        Self::default()
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "nobody waits for it",
            ));
        }
        Ok(())
    }
}

struct LeftOnDrop(Left);

impl Drop for LeftOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

fn copy_if_there(from: &Path, to: &Path) -> anyhow::Result<()> {
    match ranges::copy_whole(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => copied.with_context(|| format!("cannot copy {}", from.display())),
    }
}

/// Copies files and folders, one after the other. What goes meanwhile is passed over.
fn copy_tree(from: &Path, to: &Path, left: &Left) -> io::Result<()> {
    let mut folders: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = folders.pop() {
        let entries = match fs::read_dir(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        private(fs::DirBuilder::new()).create(&to)?;
        for entry in entries {
            left.check()?;
            let entry = entry?;
            let name = entry.file_name();
            if PASSED_OVER.iter().any(|passed| name == *passed) {
                continue;
            }
            let (from, to) = (entry.path(), to.join(&name));
            if entry.file_type()?.is_dir() {
                folders.push((from, to));
                continue;
            }
            match ranges::copy_whole(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => copied?,
            }
        }
    }
    Ok(())
}
