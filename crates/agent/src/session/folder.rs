//! Where sessions keep their named pipes and logs.
//!
//! Pipes and command files go to a file system in memory where there is one, so that commands still run on a
//! full disk. Logs go to the disk. Both folders are the agent's alone; names in them are numbers of ours and
//! never come from a request.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The two folders of this run of the agent; deleted with it.
#[derive(Debug)]
pub struct Folders {
    pub run: PathBuf,
    pub logs: PathBuf,
}

impl Folders {
    /// Makes the folders and deletes what earlier runs left behind.
    ///
    /// # Errors
    /// None of the usual places can be written.
    pub fn make(home: &Path) -> io::Result<Self> {
        let name = format!(".alcove-{}", Uuid::new_v4().simple());
        let sessions = home.join(".daytona/sessions");
        // Logs of an earlier run belong to sessions that do not exist any more.
        let _ = std::fs::remove_dir_all(&sessions);
        let places = |first: &Path| {
            let others = [
                Path::new("/tmp"),
                Path::new("/var/tmp"),
                Path::new("/dev/shm"),
                home,
            ];
            std::iter::once(first.to_path_buf()).chain(others.map(Path::to_path_buf))
        };
        let logs = first_made(places(&sessions).map(|place| place.join(&name).join("logs")))?;
        let run =
            first_made(places(Path::new("/dev/shm")).map(|place| place.join(&name).join("run")))?;
        Ok(Self { run, logs })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.run, &self.logs] {
            let _ = std::fs::remove_dir_all(folder);
            // The other one may still be in it.
            let _ = folder.parent().map(std::fs::remove_dir);
        }
    }
}

fn first_made(places: impl Iterator<Item = PathBuf>) -> io::Result<PathBuf> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for place in places {
        match make_private(&place) {
            Ok(()) => return Ok(place),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// The system's reason.
pub fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn logs_of_an_earlier_run_are_gone_and_ours_go_with_us() {
        let home = tempfile::tempdir().unwrap();
        let old = home.path().join(".daytona/sessions/old");
        std::fs::create_dir_all(&old).unwrap();
        let folders = Folders::make(home.path()).unwrap();
        assert!(!old.exists());
        let (run, logs) = (folders.run.clone(), folders.logs.clone());
        assert!(run.is_dir() && logs.starts_with(home.path()));
        drop(folders);
        assert!(!run.exists() && !logs.exists());
    }
}
