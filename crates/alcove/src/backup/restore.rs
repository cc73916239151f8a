//! Making a data folder of a backup.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alcove_runner::disk::ranges;
use alcove_store::Store;
use anyhow::{Context as _, bail};

use super::manifest::{Item, Manifest};
use super::{DATABASE, Draft, SEALING_KEY, digest, private};
use crate::serve::DATA_DIR;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder that `alcove backup` has made.
    backup: PathBuf,
    /// The data folder to make. It must not be there, or be empty.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// An empty PostgreSQL database to put the state into, as `alcove serve` takes it, instead of a file in the data folder.
    #[arg(long, env = "ALCOVE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// The key file of the server that the backup comes from, for one that was made without keys.
    #[arg(long, value_name = "FILE", conflicts_with = "without_keys")]
    sealing_key: Option<PathBuf>,
    /// Restores a backup without keys and without its key: passwords of registries, secrets of webhooks, authenticators and
    /// proxies of sandboxes are lost.
    #[arg(long)]
    without_keys: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let target = std::path::absolute(&arguments.data_dir).context("cannot tell where that is")?;
    refuse(&target)?;
    let manifest = Manifest::read(&arguments.backup)?;
    let needs_key = !manifest.has_keys && arguments.sealing_key.is_none();
    if needs_key && !arguments.without_keys {
        bail!(
            "the backup is without keys: give the key file of its server with --sealing-key, or lose what is sealed with \
             --without-keys"
        );
    }
    let draft = Draft::beside(&target)?;
    let (from, to) = (arguments.backup.clone(), draft.path().to_owned());
    let files = manifest.files.clone();
    let copying = tokio::task::spawn_blocking(move || {
        files.iter().try_for_each(|item| copy(item, &from, &to))?;
        let images = to.join("images");
        alcove_runner::restore_images(&images).context("cannot unpack the images")
    });
    copying.await.context("the task that copies broke off")??;
    if let Some(key) = &arguments.sealing_key {
        put_key(key, &draft.path().join(SEALING_KEY))?;
    }
    if let Some(url) = &arguments.database {
        let copy = draft.path().join(DATABASE);
        Store::fill(url, &copy)
            .await
            .context("cannot fill the database")?;
        fs::remove_file(&copy).context("cannot remove the copy of the database")?;
    }
    let place = target.clone();
    tokio::task::spawn_blocking(move || draft.settle(&place))
        .await
        .context("the task that names it broke off")??;
    println!(
        "{} is what the server had at {}; start it with `alcove serve --data-dir {}`",
        target.display(),
        manifest.made_at,
        target.display()
    );
    if !manifest.has_disks {
        println!("sandboxes have no files, as the backup was made without their disks");
    }
    if manifest.has_foreign_objects {
        println!("objects are in the other store, which the server must be given as before");
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing that is there is overwritten.
fn refuse(target: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look into {}", target.display()));
        }
    };
    if entries.count() == 0 {
        return Ok(());
    }
    let lock = fs::File::open(target.join("alcove.db.lock"));
    if lock.is_ok_and(|lock| lock.try_lock().is_err()) {
        bail!("a server uses {}", target.display());
    }
    bail!(
        "{} is not empty; move away what is in it, or restore elsewhere",
        target.display()
    )
}

/// Copies a file, and looks at the copy.
fn copy(item: &Item, from: &Path, to: &Path) -> anyhow::Result<()> {
    let (source, target) = (item.below(from)?, item.below(to)?);
    if let Some(folder) = target.parent() {
        let mut builder = private(fs::DirBuilder::new());
        let made = builder.recursive(true).create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if !source.is_file() {
        bail!("the backup is damaged: {} is missing", item.path);
    }
    ranges::copy_whole(&source, &target).with_context(|| format!("cannot copy {}", item.path))?;
    let found = digest::of(&target).with_context(|| format!("cannot read {}", item.path))?;
    if found != (item.bytes, item.digest.clone()) {
        bail!(
            "the backup is damaged: {} is not what it was when the backup was made",
            item.path
        );
    }
    Ok(())
}

fn put_key(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .with_context(|| format!("cannot write {}", to.display()))?;
    file.write_all(&text)
        .with_context(|| format!("cannot write {}", to.display()))
}
