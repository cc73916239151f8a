//! `alcove backup` and `alcove restore`: all that a server has, in a folder that looks like its data folder.
//!
//! ```text
//! manifest.json      what is in the backup, with the digest of each file
//! manifest.sha256    the digest of that
//! alcove.db          the database, whichever the server has
//! sealing.key, admin.key, ssh_host_ed25519_key, tls/    unless it is without keys
//! images/ builds/ archive/ runner/ storage/             as in the data folder
//! ```
//!
//! The backup gets its name when it is whole and on the disk; until then it is a folder beside it whose name begins with a dot.
//! See ADR 47 for what is copied when.

mod digest;
mod make;
mod manifest;
pub mod restore;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::operator::{self, Order};
use crate::serve::DATA_DIR;

pub use make::make;

/// What a backup without keys leaves out.
const KEYS: [&str; 3] = ["sealing.key", "admin.key", "ssh_host_ed25519_key"];
/// The same, for the folder of certificates and their keys.
const TLS: &str = "tls";
const DATABASE: &str = "alcove.db";
const REMOVE_ATTEMPTS: usize = 3;
const SEALING_KEY: &str = "sealing.key";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder to make, on this host. It must not be there.
    folder: PathBuf,
    /// The data folder of the running server.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Leaves out the disks and archives of sandboxes. Where it is restored, they have lost their files; images, snapshots and
    /// volumes are there.
    #[arg(long)]
    without_disks: bool,
    /// Leaves out every key: the one that seals secrets, the administrator's, the SSH host's and those of certificates. Keep
    /// sealing.key apart, as what is sealed cannot be read without it.
    #[arg(long)]
    without_keys: bool,
}

/// The order for a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackUp {
    /// Absolute.
    target: PathBuf,
    with_disks: bool,
    with_keys: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let target = std::path::absolute(&arguments.folder).context("cannot tell where that is")?;
    let order = Order::BackUp(BackUp {
        target,
        with_disks: !arguments.without_disks,
        with_keys: !arguments.without_keys,
    });
    println!("{}", operator::ask(&arguments.data_dir, &order).await?);
    Ok(ExitCode::SUCCESS)
}

/// A folder beside the one that is to be, removed with this value unless it got that name.
struct Draft(Option<PathBuf>);

impl Draft {
    fn beside(target: &Path) -> anyhow::Result<Self> {
        let name = target.file_name().context("this folder has no name")?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".draft-{}", std::process::id()));
        let path = target.with_file_name(hidden);
        let made = std::fs::DirBuilder::new();
        let made = private(made).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(Some(path)))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Gives it its name, once it is on the disk. Blocks.
    fn settle(mut self, target: &Path) -> anyhow::Result<()> {
        let path = self.path();
        let settle = || -> std::io::Result<()> {
            rustix::fs::syncfs(std::fs::File::open(path)?)?;
            std::fs::rename(path, target)?;
            let parent = target.parent().unwrap_or(Path::new("/"));
            std::fs::File::open(parent)?.sync_all()
        };
        settle().with_context(|| format!("cannot name {}", target.display()))?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        let mut removed = Ok(());
        // Whoever still writes to it may put a file into a folder that has just been emptied.
        for _ in 0..REMOVE_ATTEMPTS {
            removed = std::fs::remove_dir_all(path);
            if removed.is_ok() {
                return;
            }
        }
        if let Err(error) = removed {
            tracing::error!(path = %path.display(), %error, "cannot remove what is half-made");
        }
    }
}

fn private(mut builder: std::fs::DirBuilder) -> std::fs::DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;
    builder.mode(0o700);
    builder
}
