//! Facts about files, and lists of them.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use alcove_agent_api::FileInfo;
use jiff::Timestamp;

use crate::file::error::FileError;
use crate::file::walk::Walk;

/// Facts about one path; links are followed.
///
/// # Errors
/// The path does not exist or cannot be looked at.
pub fn info(path: &Path, shown_path: &str) -> Result<FileInfo, FileError> {
    let metadata =
        std::fs::metadata(path).map_err(|e| FileError::new("cannot look at", path, &e))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(entry(&name.to_string_lossy(), shown_path, &metadata))
}

fn entry(name: &str, path: &str, metadata: &Metadata) -> FileInfo {
    let modified = i32::try_from(metadata.mtime_nsec())
        .ok()
        .and_then(|nanos| Timestamp::new(metadata.mtime(), nanos).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    FileInfo {
        name: name.to_owned(),
        is_dir: metadata.is_dir(),
        size: metadata.size(),
        mod_time: modified
            .strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC")
            .to_string(),
        modified_at: modified.to_string(),
        mode: mode_text(metadata),
        permissions: format!("{:04o}", metadata.mode() & 0o777),
        owner: metadata.uid().to_string(),
        group: metadata.gid().to_string(),
        path: Some(path.to_owned()),
    }
}

/// Type letters, then nine letters of rights, as clients of the original know them.
fn mode_text(metadata: &Metadata) -> String {
    let kind = metadata.file_type();
    let mode = metadata.permissions().mode();
    let mut text = String::with_capacity(12);
    let mut letter = |is_so: bool, letters: &str| {
        if is_so {
            text.push_str(letters);
        }
    };
    letter(kind.is_dir(), "d");
    letter(kind.is_symlink(), "L");
    letter(kind.is_block_device(), "D");
    letter(kind.is_fifo(), "p");
    letter(kind.is_socket(), "S");
    letter(mode & 0o4000 != 0, "u");
    letter(mode & 0o2000 != 0, "g");
    letter(kind.is_char_device(), "Dc");
    letter(mode & 0o1000 != 0, "t");
    if text.is_empty() {
        text.push('-');
    }
    for (at, right) in "rwxrwxrwx".chars().enumerate() {
        let is_set = mode & (0o400 >> at) != 0;
        text.push(if is_set { right } else { '-' });
    }
    text
}

/// What a folder holds, as many levels down as asked.
#[derive(Debug)]
pub struct Listing(Walk);

impl Listing {
    /// `depth` levels below `path`, at least one.
    ///
    /// # Errors
    /// The path is no folder, or cannot be read.
    pub fn open(path: &Path, shown: &str, depth: usize) -> Result<Self, FileError> {
        Walk::open(path, shown, depth)
            .map(Self)
            .map_err(|error| FileError::new("cannot list", path, &error))
    }
}

impl Iterator for Listing {
    type Item = FileInfo;

    fn next(&mut self) -> Option<FileInfo> {
        loop {
            let found = self.0.next()?;
            let metadata = if found.kind.is_symlink() {
                // A link whose target is missing is still an entry, and must be deletable.
                std::fs::metadata(&found.path).or_else(|_| std::fs::symlink_metadata(&found.path))
            } else {
                std::fs::symlink_metadata(&found.path)
            };
            // Otherwise it is gone since the names were read.
            if let Ok(metadata) = metadata {
                return Some(entry(&found.name, &found.shown, &metadata));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn mode_of(path: &Path, mode: u32) -> String {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        info(path, "x").unwrap().mode
    }

    #[test]
    fn modes_read_as_those_of_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(mode_of(&file, 0o644), "-rw-r--r--");
        assert_eq!(mode_of(&file, 0o4755), "urwxr-xr-x");
        let folder = dir.path().join("d");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(mode_of(&folder, 0o755), "drwxr-xr-x");
        assert_eq!(mode_of(&folder, 0o1777), "dtrwxrwxrwx");
        assert_eq!(
            info(Path::new("/dev/null"), "x").unwrap().mode,
            "Dcrw-rw-rw-"
        );
    }

    #[test]
    fn a_list_is_in_byte_order_and_has_dangling_links() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "B", ".h"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        let names: Vec<_> = Listing::open(dir.path(), "x", 1)
            .unwrap()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, [".h", "B", "b", "link"]);
    }

    #[test]
    fn depth_counts_levels_and_links_are_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let paths = |depth| -> Vec<_> {
            Listing::open(dir.path(), "r", depth)
                .unwrap()
                .filter_map(|entry| entry.path)
                .collect()
        };
        assert_eq!(paths(1), ["r/a"]);
        assert_eq!(paths(2), ["r/a", "r/a/b", "r/a/loop"]);
        assert_eq!(paths(9), ["r/a", "r/a/b", "r/a/b/c", "r/a/loop"]);
    }

    #[test]
    fn the_old_time_layout_drops_zeros_of_the_fraction() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |nanos| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_705_314_600, nanos);
            file.as_file().set_modified(time).unwrap();
            info(file.path(), "x").unwrap().mod_time
        };
        assert_eq!(set(123_000_000), "2024-01-15 10:30:00.123 +0000 UTC");
        assert_eq!(set(0), "2024-01-15 10:30:00 +0000 UTC");
    }
}
