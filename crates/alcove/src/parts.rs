//! The agent, its git program and the spawner, as files that can be executed.
//!
//! A released binary carries them and writes them into the data folder, under a name made from their
//! contents: a newer server never changes a program that runs. A binary without them takes those beside it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use alcove_runner::Programs;
use anyhow::Context;
use sha2::{Digest, Sha256};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/parts.rs"));
}

/// What becomes of the files if the host loses its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    /// Whole or not there.
    ToDisk,
    /// Nobody will look.
    No,
}

/// The programs that the runner needs.
pub fn unpack(data_dir: &Path) -> anyhow::Result<Programs> {
    let unpack = |name, bytes| unpack_one(data_dir, name, bytes, Sync::ToDisk);
    Ok(Programs {
        agent: unpack("alcove-agent", embedded::AGENT)?,
        git: unpack("alcove-git", embedded::GIT)?,
        spawner: unpack("alcove-spawner", embedded::SPAWNER)?,
    })
}

/// The spawner alone, in a folder that is about to go. A sync would wait for all that others write.
pub fn unpack_spawner_to_try(folder: &Path) -> anyhow::Result<PathBuf> {
    unpack_one(folder, "alcove-spawner", embedded::SPAWNER, Sync::No)
}

fn unpack_one(
    data_dir: &Path,
    name: &str,
    bytes: Option<&[u8]>,
    sync: Sync,
) -> anyhow::Result<PathBuf> {
    let Some(bytes) = bytes else {
        return beside(name);
    };
    let folder = data_dir.join("parts");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!(
        "{name}-{}",
        hex::encode(&Sha256::digest(bytes)[..8])
    ));
    if path.exists() {
        return Ok(path);
    }
    let write = || {
        let mut draft = tempfile::NamedTempFile::new_in(&folder)?;
        draft.write_all(bytes)?;
        draft
            .as_file()
            .set_permissions(fs::Permissions::from_mode(0o755))?;
        if sync == Sync::ToDisk {
            draft.as_file().sync_all()?;
        }
        // A program that is open for writing cannot be executed.
        let (file, draft) = draft.into_parts();
        drop(file);
        draft.persist(&path)?;
        std::io::Result::Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the own program")?;
    let path = own.with_file_name(name);
    anyhow::ensure!(
        path.exists(),
        "this build carries no {name}, and there is none at {}; build with `make build`",
        path.display()
    );
    Ok(path)
}
