//! Where a test server keeps its data: a folder of the host, or a small file system that can fill up.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for one server, removed with all that is in it.
#[derive(Debug)]
pub struct Folder {
    base: tempfile::TempDir,
    mount: Option<PathBuf>,
}

impl Folder {
    /// # Panics
    /// When no folder can be made.
    pub fn plain() -> Self {
        let base = tempfile::Builder::new().prefix("alcove-e2e-").tempdir();
        let base = base.expect("a folder for the test");
        Self { base, mount: None }
    }

    /// A folder whose data lies on an ext4 file system of this size.
    ///
    /// # Panics
    /// When the file system cannot be made or mounted.
    pub fn small(mib: u64) -> Self {
        let mut folder = Self::plain();
        let (image, point) = (
            folder.path().join("small.ext4"),
            folder.path().join("small"),
        );
        std::fs::create_dir(&point).expect("a folder in our own");
        let file = std::fs::File::create(&image).expect("a file in our own folder");
        file.set_len(mib << 20).expect("a sparse file");
        must("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image)]);
        must("mount", &["-o", "loop", text(&image), text(&point)]);
        folder.mount = Some(point);
        folder
    }

    /// A folder whose data lies on a file system of this size where files can share their blocks. None where the kernel
    /// has no such file system.
    ///
    /// # Panics
    /// When the file system cannot be made; `make setup` installs its program.
    pub fn sharing(mib: u64) -> Option<Self> {
        let mut folder = Self::plain();
        let (image, point) = (
            folder.path().join("sharing.xfs"),
            folder.path().join("sharing"),
        );
        std::fs::create_dir(&point).expect("a folder in our own");
        let file = std::fs::File::create(&image).expect("a file in our own folder");
        file.set_len(mib << 20).expect("a sparse file");
        must("mkfs.xfs", &["-q", "-m", "reflink=1", text(&image)]);
        let mounted = Command::new("mount")
            .args(["-t", "xfs", "-o", "loop", text(&image), text(&point)])
            .output()
            .expect("a system with mount");
        if !mounted.status.success() {
            return None;
        }
        folder.mount = Some(point);
        Some(folder)
    }

    pub fn path(&self) -> &Path {
        self.base.path()
    }

    /// The folder for `--data-dir`, as the server itself sees it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn data_dir(&self) -> PathBuf {
        let data_dir = self.mount.as_deref().unwrap_or(self.path()).join("data");
        std::fs::create_dir_all(&data_dir).expect("a folder in our own");
        data_dir.canonicalize().expect("it exists")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(point) = &self.mount {
            // Lazy: a failed test may have left something inside, which the folder's removal does not need.
            let _ = Command::new("umount").arg("-l").arg(point).status();
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are plain")
}

fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
