//! Folders made, things moved and deleted, rights set.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, Gid, RenameFlags, Uid, renameat_with};
use rustix::io::Errno;

use crate::file::cancel::Cancelled;
use crate::file::copy::copy_across;
use crate::file::error::FileError;
use crate::passwd;

/// Makes a folder and its parents. One that exists stays as it is.
///
/// # Errors
/// Something else has the name, or the system refuses.
pub fn make_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode & 0o777)
        .create(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => FileError::invalid(path, "exists and is no folder"),
            _ => FileError::new("cannot make folder", path, &error),
        })?;
    set_special_bits(path, mode)
}

/// Makes a folder that is not there yet, in one that is.
///
/// # Errors
/// Something has the name, the folder around it is not there, or the system refuses.
pub fn make_new_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(mode & 0o777)
        .create(path)
        .map_err(|error| FileError::new("cannot make folder", path, &error))?;
    set_special_bits(path, mode)
}

fn set_special_bits(path: &Path, mode: u32) -> Result<(), FileError> {
    // Neither the umask nor the system call lets the special bits through.
    if mode & 0o7000 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|error| FileError::new("cannot set the rights of", path, &error))?;
    }
    Ok(())
}

/// Deletes a file, or with `recursive` a folder and all in it. A link is a file, wherever it leads.
///
/// # Errors
/// It does not exist, or is a folder and `recursive` is not given.
pub fn delete(path: &Path, recursive: bool) -> Result<(), FileError> {
    let failed = |error: io::Error| FileError::new("cannot delete", path, &error);
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        return std::fs::remove_file(path).map_err(failed);
    }
    if !recursive {
        return Err(FileError::invalid(
            path,
            "is a folder; deleting it takes recursive=true",
        ));
    }
    std::fs::remove_dir_all(path).map_err(failed)
}

/// What a move has left behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Moved {
    Whole,
    /// Everything is at the destination, but the source, or some of it, is still there as well.
    SourceLeft(FileError),
}

/// Moves a file or folder; what has the new name stays.
///
/// # Errors
/// The source or the destination's folder is missing, the destination exists, or lies in the source.
pub fn move_to(
    source: &Path,
    destination: &Path,
    cancelled: &Cancelled,
) -> Result<Moved, FileError> {
    std::fs::symlink_metadata(source)
        .map_err(|error| FileError::new("cannot move", source, &error))?;
    if lies_within(destination, source) {
        return Err(FileError::invalid(
            destination,
            "lies within the folder to be moved",
        ));
    }
    match rename_to_free(source, destination) {
        Ok(()) => Ok(Moved::Whole),
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            Err(FileError::conflict(destination, "exists already"))
        }
        Err(Errno::XDEV) => copy_across(source, destination, cancelled),
        Err(error) => Err(FileError::new("cannot move to", destination, &error.into())),
    }
}

/// Renames unless the new name is taken, which is checked in the same step where the file system can.
pub(super) fn rename_to_free(source: &Path, destination: &Path) -> Result<(), Errno> {
    match renameat_with(CWD, source, CWD, destination, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if std::fs::symlink_metadata(destination).is_ok() {
                return Err(Errno::EXIST);
            }
            rustix::fs::rename(source, destination)
        }
        result => result,
    }
}

fn lies_within(path: &Path, folder: &Path) -> bool {
    // By their real places: `a/../a/b` lies in `a`, and so does what a link leads to.
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let Ok(parent) = std::fs::canonicalize(parent.unwrap_or(Path::new("."))) else {
        return false;
    };
    let is_link = std::fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_symlink());
    !is_link && std::fs::canonicalize(folder).is_ok_and(|folder| parent.starts_with(folder))
}

/// Rights and owner to set; what is absent stays.
#[derive(Debug, Default)]
pub struct Rights<'a> {
    pub mode: Option<u32>,
    pub owner: Option<&'a str>,
    pub group: Option<&'a str>,
}

/// Sets rights and owner of what the path leads to. Names are looked up before anything is changed.
///
/// # Errors
/// A name is unknown, or the system refuses.
pub fn set_rights(path: &Path, rights: &Rights<'_>) -> Result<(), FileError> {
    let failed = |error: io::Error| FileError::new("cannot set the rights of", path, &error);
    std::fs::metadata(path).map_err(failed)?;
    let unknown = |what: &str, name: &str| FileError::invalid(path, &format!("no {what} {name:?}"));
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let owner = rights.owner.map(|name| {
        passwd::uid_of(&read("/etc/passwd"), name).ok_or_else(|| unknown("user", name))
    });
    let group = rights.group.map(|name| {
        passwd::gid_of(&read("/etc/group"), name).ok_or_else(|| unknown("group", name))
    });
    let (owner, group) = (owner.transpose()?, group.transpose()?);
    if owner.is_some() || group.is_some() {
        rustix::fs::chown(path, owner.map(Uid::from_raw), group.map(Gid::from_raw))
            .map_err(|error| failed(error.into()))?;
    }
    // After the owner: a change of owner clears the special bits.
    if let Some(mode) = rights.mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use alcove_agent_api::ErrorCode;

    use super::*;

    fn move_to(source: &Path, destination: &Path) -> Result<Moved, FileError> {
        super::move_to(source, destination, &Cancelled::never())
    }

    #[test]
    fn a_dangling_link_can_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        delete(&link, false).unwrap();
        assert!(std::fs::symlink_metadata(&link).is_err());
    }

    #[test]
    fn a_link_to_a_folder_goes_without_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("d"), dir.path().join("link"));
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        delete(&link, true).unwrap();
        assert!(folder.is_dir());
    }

    #[test]
    fn a_folder_is_deleted_only_when_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("d");
        std::fs::create_dir_all(folder.join("e")).unwrap();
        assert_eq!(
            delete(&folder, false).unwrap_err().code,
            ErrorCode::InvalidFilePath
        );
        delete(&folder, true).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_does_not_move_into_itself() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("d");
        std::fs::create_dir(&folder).unwrap();
        for inside in ["d/e", "d/../d/e"] {
            let error = move_to(&folder, &dir.path().join(inside)).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidFilePath);
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_move_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "a").unwrap();
        std::fs::write(path("b"), "b").unwrap();
        assert_eq!(
            move_to(&path("a"), &path("b")).unwrap_err().code,
            ErrorCode::Conflict
        );
        let missing = move_to(&path("x"), &path("c")).unwrap_err();
        assert_eq!(missing.code, ErrorCode::FileNotFound);
        let no_parent = move_to(&path("a"), &path("no/c")).unwrap_err();
        assert_eq!(no_parent.code, ErrorCode::FileNotFound);
        move_to(&path("a"), &path("c")).unwrap();
        assert_eq!(std::fs::read(path("c")).unwrap(), b"a");
    }

    #[test]
    fn special_bits_of_a_new_folder_are_set() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        make_folder(&folder, 0o1777).unwrap();
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        make_folder(&folder, 0o700).unwrap();
        assert_eq!(
            std::fs::metadata(&folder).unwrap().permissions().mode() & 0o7777,
            0o1777
        );
    }

    #[test]
    fn an_unknown_owner_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = std::fs::metadata(file.path()).unwrap().permissions().mode();
        let rights = Rights {
            mode: Some(0o777),
            owner: Some("no such user"),
            group: None,
        };
        assert!(set_rights(file.path(), &rights).is_err());
        assert_eq!(
            std::fs::metadata(file.path()).unwrap().permissions().mode(),
            before
        );
    }
}
