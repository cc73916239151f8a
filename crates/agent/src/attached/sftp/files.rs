//! What each request of SFTP does to files.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, ReadDir};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh_sftp::protocol::{self, FileAttributes, OpenFlags, StatusCode};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::attributes;

/// Open files and folders of one client.
pub const HANDLES_MAX: usize = 256;
/// Most bytes of one read, and of one write.
pub const READ_MAX_BYTES: u32 = 255 << 10;
/// Names in one answer about a folder.
const NAMES_AT_ONCE: usize = 100;
/// What a new file may have at most, where the client does not say.
const NEW_FILE_MODE: u32 = 0o666;
const NEW_FOLDER_MODE: u32 = 0o777;

/// Why a request was not done.
#[derive(Debug)]
pub enum Fault {
    /// Nothing more to read.
    End,
    Unsupported,
    BadMessage,
    /// There is no such handle, or it is of the other kind.
    Handle,
    Failed(String),
    System(io::Error),
}

impl Fault {
    pub fn failed(reason: &str) -> Self {
        Self::Failed(reason.to_owned())
    }

    pub fn into_parts(self) -> (StatusCode, String) {
        match self {
            Self::End => (StatusCode::Eof, "End of file".to_owned()),
            Self::Unsupported => (
                StatusCode::OpUnsupported,
                "Operation unsupported".to_owned(),
            ),
            Self::BadMessage => (StatusCode::BadMessage, "Bad message".to_owned()),
            Self::Handle => (StatusCode::Failure, "Invalid handle".to_owned()),
            Self::Failed(reason) => (StatusCode::Failure, reason),
            Self::System(error) => {
                let code = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                        StatusCode::NoSuchFile
                    }
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        StatusCode::PermissionDenied
                    }
                    _ => StatusCode::Failure,
                };
                (code, error.to_string())
            }
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error.into())
    }
}

#[derive(Debug, Clone)]
enum Open {
    File(Arc<File>),
    Folder(Arc<Mutex<ReadDir>>),
}

/// The files of one client.
#[derive(Debug)]
pub struct Files {
    /// Where relative names begin.
    folder: PathBuf,
    open: Mutex<Handles>,
}

#[derive(Debug, Default)]
struct Handles {
    next: u64,
    open: HashMap<String, Open>,
}

impl Files {
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn keep(&self, what: Open) -> Result<String, Fault> {
        let mut handles = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.open.len() >= HANDLES_MAX {
            return Err(Fault::failed("too many open files"));
        }
        handles.next += 1;
        let handle = handles.next.to_string();
        handles.open.insert(handle.clone(), what);
        Ok(handle)
    }

    fn kept(&self, handle: &str) -> Result<Open, Fault> {
        let handles = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        handles.open.get(handle).cloned().ok_or(Fault::Handle)
    }

    fn file(&self, handle: &str) -> Result<Arc<File>, Fault> {
        match self.kept(handle)? {
            Open::File(file) => Ok(file),
            Open::Folder(_) => Err(Fault::Handle),
        }
    }

    pub fn open(
        &self,
        name: &str,
        flags: OpenFlags,
        attributes: &FileAttributes,
    ) -> Result<String, Fault> {
        let mut options = OpenOptions::new();
        let appends = flags.contains(OpenFlags::APPEND);
        options
            .read(flags.contains(OpenFlags::READ))
            .write(flags.contains(OpenFlags::WRITE) && !appends)
            .append(appends)
            .truncate(flags.contains(OpenFlags::TRUNCATE) && !appends)
            .mode(attributes.permissions.unwrap_or(NEW_FILE_MODE) & 0o7777)
            // A pipe or a device without anybody behind it must not hold up the thread.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        if flags.contains(OpenFlags::CREATE) {
            if flags.contains(OpenFlags::EXCLUDE) {
                options.create_new(true);
            } else {
                options.create(true);
            }
        }
        let file = options.open(self.path(name))?;
        if file.metadata()?.is_dir() {
            return Err(Fault::failed("Is a directory"));
        }
        self.keep(Open::File(Arc::new(file)))
    }

    pub fn close(&self, handle: &str) -> Result<(), Fault> {
        let mut handles = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        handles.open.remove(handle).map(drop).ok_or(Fault::Handle)
    }

    pub fn read(&self, handle: &str, offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
        let file = self.file(handle)?;
        let length = usize::try_from(length.min(READ_MAX_BYTES)).unwrap_or_default();
        let mut data = vec![0; length];
        let mut count = 0;
        // As much as was asked for, unless the file ends: some clients take less for its end.
        while count < length {
            let at = offset.checked_add(count as u64).ok_or(Fault::BadMessage)?;
            match file.read_at(&mut data[count..], at) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if count > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        if count == 0 && length > 0 {
            return Err(Fault::End);
        }
        data.truncate(count);
        Ok(data)
    }

    pub fn write(&self, handle: &str, offset: u64, data: &[u8]) -> Result<(), Fault> {
        Ok(self.file(handle)?.write_all_at(data, offset)?)
    }

    pub fn sync(&self, handle: &str) -> Result<(), Fault> {
        Ok(self.file(handle)?.sync_all()?)
    }

    pub fn stat(&self, name: &str, follows: bool) -> Result<FileAttributes, Fault> {
        let path = self.path(name);
        let metadata = if follows {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        Ok(attributes::of(&metadata?))
    }

    pub fn stat_open(&self, handle: &str) -> Result<FileAttributes, Fault> {
        Ok(attributes::of(&self.file(handle)?.metadata()?))
    }

    pub fn set(&self, name: &str, attributes: &FileAttributes, follows: bool) -> Result<(), Fault> {
        Ok(attributes::set(&self.path(name), attributes, follows)?)
    }

    pub fn set_open(&self, handle: &str, attributes: &FileAttributes) -> Result<(), Fault> {
        let file = self.file(handle)?;
        Ok(attributes::set_open(&file, attributes)?)
    }

    pub fn open_folder(&self, name: &str) -> Result<String, Fault> {
        let entries = fs::read_dir(self.path(name))?;
        self.keep(Open::Folder(Arc::new(Mutex::new(entries))))
    }

    /// The next names. One that is not UTF-8 is told as near as can be; it cannot be asked for.
    pub fn read_folder(&self, handle: &str) -> Result<Vec<protocol::File>, Fault> {
        let Open::Folder(folder) = self.kept(handle)? else {
            return Err(Fault::Handle);
        };
        let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = Vec::new();
        for entry in folder.by_ref().take(NAMES_AT_ONCE) {
            let entry = entry?;
            // It may have gone meanwhile.
            if let Ok(metadata) = entry.metadata() {
                let name = entry.file_name().to_string_lossy().into_owned();
                names.push(protocol::File::new(name, attributes::of(&metadata)));
            }
        }
        if names.is_empty() {
            return Err(Fault::End);
        }
        Ok(names)
    }

    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        Ok(fs::remove_file(self.path(name))?)
    }

    pub fn make_folder(&self, name: &str, attributes: &FileAttributes) -> Result<(), Fault> {
        let mode = attributes.permissions.unwrap_or(NEW_FOLDER_MODE) & 0o7777;
        Ok(DirBuilder::new().mode(mode).create(self.path(name))?)
    }

    pub fn remove_folder(&self, name: &str) -> Result<(), Fault> {
        Ok(fs::remove_dir(self.path(name))?)
    }

    pub fn rename(&self, old: &str, new: &str, replaces: bool) -> Result<(), Fault> {
        let (old, new) = (self.path(old), self.path(new));
        if replaces {
            return Ok(fs::rename(old, new)?);
        }
        Ok(renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE)?)
    }

    pub fn link_hard(&self, old: &str, new: &str) -> Result<(), Fault> {
        Ok(fs::hard_link(self.path(old), self.path(new))?)
    }

    /// The target is kept as it is written.
    pub fn link_symbolic(&self, target: &str, link: &str) -> Result<(), Fault> {
        Ok(symlink(target, self.path(link))?)
    }

    pub fn read_link(&self, name: &str) -> Result<protocol::File, Fault> {
        Ok(named(&fs::read_link(self.path(name))?))
    }

    /// The absolute name without links; of one that is not there yet, what can be said without looking.
    pub fn real_path(&self, name: &str) -> Result<protocol::File, Fault> {
        let path = self.path(name);
        match fs::canonicalize(&path) {
            Ok(real) => Ok(named(&real)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(named(&plain(&path))),
            Err(error) => Err(error.into()),
        }
    }
}

fn named(path: &Path) -> protocol::File {
    let name = path.to_string_lossy().into_owned();
    protocol::File {
        longname: name.clone(),
        filename: name,
        attrs: FileAttributes::empty(),
    }
}

/// An absolute path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn code(result: Result<impl std::fmt::Debug, Fault>) -> StatusCode {
        result.unwrap_err().into_parts().0
    }

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        (folder, files)
    }

    #[test]
    fn a_file_is_written_and_read_at_any_place() {
        let (_folder, files) = files();
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let empty = FileAttributes::empty();
        let handle = files.open("a", flags, &empty).unwrap();
        files.write(&handle, 5, b"world").unwrap();
        files.write(&handle, 0, b"hello").unwrap();
        assert_eq!(files.read(&handle, 3, 4).unwrap(), b"lowo");
        assert_eq!(files.read(&handle, 8, 100).unwrap(), b"ld");
        assert_eq!(code(files.read(&handle, 10, 1)), StatusCode::Eof);
        assert_eq!(files.stat_open(&handle).unwrap().size, Some(10));
        files.close(&handle).unwrap();
        assert_eq!(code(files.close(&handle)), StatusCode::Failure);
        let missing = files.open("b", OpenFlags::READ, &empty);
        assert_eq!(code(missing), StatusCode::NoSuchFile);
        let exclusive = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        assert_eq!(
            code(files.open("a", exclusive, &empty)),
            StatusCode::Failure
        );
        assert_eq!(
            code(files.open(".", OpenFlags::READ, &empty)),
            StatusCode::Failure
        );
    }

    #[test]
    fn a_plain_rename_replaces_nothing_and_a_posix_one_does() {
        let (folder, files) = files();
        fs::write(folder.path().join("a"), "a").unwrap();
        fs::write(folder.path().join("b"), "b").unwrap();
        assert_eq!(code(files.rename("a", "b", false)), StatusCode::Failure);
        files.rename("a", "b", true).unwrap();
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"a");
        files.rename("b", "c", false).unwrap();
    }

    #[test]
    fn a_folder_is_told_in_pieces_and_ends() {
        let (folder, files) = files();
        for number in 0..=NAMES_AT_ONCE {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let handle = files.open_folder(".").unwrap();
        let first = files.read_folder(&handle).unwrap().len();
        let second = files.read_folder(&handle).unwrap().len();
        assert_eq!((first, second), (NAMES_AT_ONCE, 1));
        assert_eq!(code(files.read_folder(&handle)), StatusCode::Eof);
    }

    #[test]
    fn handles_are_bounded() {
        let (_folder, files) = files();
        for _ in 0..HANDLES_MAX {
            files.open_folder(".").unwrap();
        }
        assert_eq!(code(files.open_folder(".")), StatusCode::Failure);
        files.close("1").unwrap();
        files.open_folder(".").unwrap();
    }

    #[test]
    fn attributes_and_links_are_set_as_asked() {
        let (folder, files) = files();
        fs::write(folder.path().join("a"), "abc").unwrap();
        files.link_symbolic("a", "link").unwrap();
        let set = FileAttributes {
            size: Some(2),
            permissions: Some(0o640),
            atime: Some(5),
            mtime: Some(6),
            ..FileAttributes::empty()
        };
        files.set("link", &set, true).unwrap();
        let seen = files.stat("a", true).unwrap();
        assert_eq!((seen.size, seen.permissions), (Some(2), Some(0o100_640)));
        assert_eq!((seen.atime, seen.mtime), (Some(5), Some(6)));
        assert_eq!(
            files.stat("link", false).unwrap().permissions.unwrap() & 0o170_000,
            0o120_000
        );
        assert_eq!(files.read_link("link").unwrap().filename, "a");
        let real = files.real_path("x/../link").unwrap().filename;
        assert!(real.ends_with("/link") || real.ends_with("/a"), "{real}");
        assert_eq!(
            files.real_path("/no/./where/../x").unwrap().filename,
            "/no/x"
        );
    }
}
