//! Many files at once: a gzipped tar archive, as it comes.
//!
//! Only files and folders are taken, and only below the folder that they are meant for. Nothing of an archive is held in
//! memory but a piece of the file that is being written and the words that describe it, which have a bound.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Entry, EntryType, PaxExtensions};

use crate::file::error::FileError;
use crate::file::tree;
use crate::file::write::Writing;

/// Longest description of an entry that stands before it, such as a long name.
const DESCRIPTION_MAX_BYTES: u64 = 64 << 10;

/// Bytes that are written at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Rights of folders that an archive does not name.
const FOLDER_MODE: u32 = 0o755;

/// What becomes of links in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    Refused,
    /// They are made as they are, wherever they lead: what is written through one is what the sandbox's user may write.
    Kept,
}

/// Why an archive was not unpacked; what came before is in its place.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the archive cannot be read: {0}")]
    Broken(io::Error),
    #[error("{0} leads out of the folder")]
    LeadsOut(PathBuf),
    #[error("{0} is neither a file nor a folder")]
    Kind(PathBuf),
    #[error("the description of an entry is longer than {DESCRIPTION_MAX_BYTES} bytes")]
    Description,
    #[error("{0} is larger than archives of this kind can say")]
    Size(PathBuf),
    #[error("{}", .0.message)]
    File(FileError),
}

impl From<FileError> for UnpackError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Writes what the archive holds below `folder`. Blocks.
///
/// # Errors
/// The archive is broken, holds what is not taken, or the system refuses.
pub fn unpack(archive: impl Read, folder: &Path, links: Links) -> Result<(), UnpackError> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(archive));
    let (mut long_name, mut long_link) = (None, None);
    let mut piece = vec![0; PIECE_BYTES];
    // Raw, since the library would hold a description of any length.
    for entry in archive.entries().map_err(UnpackError::Broken)?.raw(true) {
        let mut entry = entry.map_err(UnpackError::Broken)?;
        match entry.header().entry_type() {
            EntryType::XHeader => {
                let description = describe(&mut entry)?;
                (long_name, long_link) = pax_names(&description)?;
            }
            EntryType::XGlobalHeader => drop(describe(&mut entry)?),
            EntryType::GNULongName => long_name = Some(gnu_name(describe(&mut entry)?)),
            EntryType::GNULongLink => long_link = Some(gnu_name(describe(&mut entry)?)),
            kind => {
                let name = match long_name.take() {
                    Some(name) => name,
                    None => path_of(&entry.path_bytes()),
                };
                let points_to = long_link.take();
                let target = folder.join(inside(&name)?);
                let mode = entry.header().mode().map_err(UnpackError::Broken)? & 0o7777;
                match kind {
                    EntryType::Regular | EntryType::Continuous => {
                        write(&mut entry, &target, mode, &mut piece)?;
                    }
                    EntryType::Directory => tree::make_folder(&target, mode)?,
                    EntryType::Symlink | EntryType::Link if links == Links::Kept => {
                        let points_to = points_to
                            .or_else(|| entry.link_name_bytes().map(|name| path_of(&name)))
                            .unwrap_or_default();
                        if kind == EntryType::Symlink {
                            link(&target, |target| symlink(&points_to, target))?;
                        } else {
                            let file = folder.join(inside(&points_to)?);
                            link(&target, |target| fs::hard_link(&file, target))?;
                        }
                    }
                    _ => return Err(UnpackError::Kind(name)),
                }
            }
        }
    }
    Ok(())
}

fn path_of(name: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(name))
}

/// The whole of a description.
fn describe(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, UnpackError> {
    if entry.size() > DESCRIPTION_MAX_BYTES {
        return Err(UnpackError::Description);
    }
    let mut description = Vec::new();
    entry
        .read_to_end(&mut description)
        .map_err(UnpackError::Broken)?;
    Ok(description)
}

/// A name of GNU's, which ends with a zero.
fn gnu_name(mut name: Vec<u8>) -> PathBuf {
    let end = name.iter().position(|byte| *byte == 0);
    name.truncate(end.unwrap_or(name.len()));
    path_of(&name)
}

/// The name that a description gives to the entry behind it, and what that points to.
fn pax_names(description: &[u8]) -> Result<(Option<PathBuf>, Option<PathBuf>), UnpackError> {
    let (mut name, mut points_to) = (None, None);
    for extension in PaxExtensions::new(description) {
        let extension = extension.map_err(UnpackError::Broken)?;
        match extension.key_bytes() {
            b"path" => name = Some(path_of(extension.value_bytes())),
            b"linkpath" => points_to = Some(path_of(extension.value_bytes())),
            // The header's own size does not count then.
            b"size" => return Err(UnpackError::Size(name.unwrap_or_default())),
            _ => {}
        }
    }
    Ok((name, points_to))
}

/// Makes a link in place of whatever file is there.
fn link(target: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), UnpackError> {
    if let Some(folder) = target.parent() {
        tree::make_folder(folder, FOLDER_MODE)?;
    }
    let failed = |doing, error| UnpackError::File(FileError::new(doing, target, &error));
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("cannot replace", error));
        }
        _ => {}
    }
    make(target).map_err(|error| failed("cannot link", error))
}

/// The path below the folder; a leading slash is the folder itself.
fn inside(name: &Path) -> Result<PathBuf, UnpackError> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(UnpackError::LeadsOut(name.to_path_buf()));
            }
        }
    }
    Ok(path)
}

fn write(
    entry: &mut Entry<'_, impl Read>,
    target: &Path,
    mode: u32,
    piece: &mut [u8],
) -> Result<(), UnpackError> {
    if let Some(folder) = target.parent() {
        tree::make_folder(folder, FOLDER_MODE)?;
    }
    let mut writing = Writing::open(target)?;
    loop {
        match entry.read(piece).map_err(UnpackError::Broken)? {
            0 => break,
            count => writing.write(&piece[..count])?,
        }
    }
    writing.commit()?;
    fs::set_permissions(target, fs::Permissions::from_mode(mode))
        .map_err(|error| FileError::new("cannot set the rights of", target, &error).into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use tar::{Builder, Header};

    use super::*;

    fn zipped(build: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn header(kind: EntryType, size: u64, mode: u32) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_cksum();
        header
    }

    /// A name as it stands, where the library would refuse to write it.
    fn named(name: &[u8], kind: EntryType, body: &[u8]) -> Vec<u8> {
        zipped(|builder| {
            let mut header = header(kind, body.len() as u64, 0o644);
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_cksum();
            builder.append(&header, body).unwrap();
        })
    }

    #[test]
    fn links_are_kept_where_they_are_wanted_and_take_the_place_of_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "old").unwrap();
        let far = "n/".repeat(80);
        let archive = zipped(|builder| {
            let mut file = header(EntryType::Regular, 3, 0o644);
            builder.append_data(&mut file, "a", &b"new"[..]).unwrap();
            for (name, to, kind) in [
                ("b", "a", EntryType::Symlink),
                ("deep/c", "a", EntryType::Link),
                ("d", far.as_str(), EntryType::Symlink),
            ] {
                let mut link = header(kind, 0, 0o777);
                builder.append_link(&mut link, name, to).unwrap();
            }
        });
        let refused = unpack(&archive[..], dir.path(), Links::Refused);
        assert!(matches!(refused, Err(UnpackError::Kind(_))), "{refused:?}");
        unpack(&archive[..], dir.path(), Links::Kept).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((read("b"), read("deep/c")), ("new".into(), "new".into()));
        let points_to = |name: &str| fs::read_link(dir.path().join(name)).unwrap();
        assert_eq!(points_to("b"), Path::new("a"));
        assert_eq!(points_to("d"), Path::new(&far));
    }

    #[test]
    fn files_come_with_their_folders_and_rights_and_replace_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "old").unwrap();
        let archive = zipped(|builder| {
            let mut file = |name: &str, mode| {
                let mut header = header(EntryType::Regular, 3, mode);
                builder.append_data(&mut header, name, &b"new"[..]).unwrap();
            };
            file("a/deep/x.sh", 0o755);
            file("b", 0o600);
            // Too long for a plain header, so it comes with a description.
            file(&format!("{0}/{0}\u{e9}", "n".repeat(120)), 0o644);
        });
        unpack(&archive[..], dir.path(), Links::Refused).unwrap();
        let mode = |name: &str| {
            fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"new");
        assert_eq!(mode("a/deep/x.sh") & 0o7777, 0o755);
        assert_eq!(mode("b") & 0o7777, 0o600);
        assert_eq!(mode("a") & 0o7777, 0o755);
        assert!(
            dir.path()
                .join(format!("{0}/{0}\u{e9}", "n".repeat(120)))
                .is_file()
        );
    }

    #[test]
    fn what_leads_out_or_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("in");
        fs::create_dir(&folder).unwrap();
        let out = named(b"a/../../out", EntryType::Regular, b"x");
        assert!(matches!(
            unpack(&out[..], &folder, Links::Refused),
            Err(UnpackError::LeadsOut(_))
        ));
        assert!(!dir.path().join("out").exists());
        let link = named(b"link", EntryType::Symlink, b"");
        assert!(matches!(
            unpack(&link[..], &folder, Links::Refused),
            Err(UnpackError::Kind(_))
        ));
        let rooted = named(b"/rooted", EntryType::Regular, b"x");
        unpack(&rooted[..], &folder, Links::Refused).unwrap();
        assert!(folder.join("rooted").is_file());
    }

    #[test]
    fn a_description_without_end_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let long = vec![b'x'; usize::try_from(DESCRIPTION_MAX_BYTES).unwrap() + 1];
        let archive = named(b"x", EntryType::XHeader, &long);
        assert!(matches!(
            unpack(&archive[..], dir.path(), Links::Refused),
            Err(UnpackError::Description)
        ));
    }

    #[test]
    fn an_archive_that_breaks_off_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let archive = named(b"x", EntryType::Regular, &[b'x'; 4096]);
        let cut = unpack(&archive[..archive.len() / 2], dir.path(), Links::Refused);
        assert!(matches!(cut, Err(UnpackError::Broken(_))), "{cut:?}");
        assert!(!dir.path().join("x").exists(), "no half of a file");
        assert!(unpack(&b"no archive"[..], dir.path(), Links::Refused).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_leave_the_folder_or_break_the_reading(
            name in proptest::collection::vec(any::<u8>(), 1..90),
            kind in any::<u8>(),
            body in proptest::collection::vec(any::<u8>(), 0..2048),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("in");
            fs::create_dir(&folder).unwrap();
            let _ = unpack(&named(&name, EntryType::new(kind), &body)[..], &folder, Links::Refused);
            let mut raw = GzEncoder::new(Vec::new(), Compression::fast());
            raw.write_all(&body).unwrap();
            let _ = unpack(&raw.finish().unwrap()[..], &folder, Links::Refused);
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
