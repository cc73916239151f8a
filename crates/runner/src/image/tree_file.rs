//! The files of an unpacked layer as one file, for backups.
//!
//! A tar archive would not do: what overlayfs reads in a layer (devices as marks for what is removed, attributes of its
//! own) is not for archives of images, and must come back as it is. Numbers are little-endian; texts have their length
//! before them.
//!
//! ```text
//! magic │ entries, each folder before what is in it │ 0
//! entry: kind │ path │ mode, user, group │ seconds, nanoseconds │ attributes │ what belongs to the kind
//! ```

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lgetxattr, llistxattr, lsetxattr, mknodat, utimensat,
};

use crate::cancel::Cancel;

const MAGIC: &[u8; 8] = b"ALCOVETR";
const BUFFER: usize = 1 << 20;
/// The kernel's bounds for paths, and for names and values of attributes.
const TEXT_MAX: u32 = 64 << 10;

const END: u8 = 0;
const FOLDER: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
/// Another name of a file that came before.
const LINK: u8 = 4;
/// A device, a pipe or a socket.
const NODE: u8 = 5;

/// Writes all that is in a folder, and the folder itself.
pub(super) fn write(folder: &Path, to: &Path, cancel: &Cancel) -> io::Result<()> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let mut writer = Writer {
        out: BufWriter::with_capacity(BUFFER, file),
        links: HashMap::new(),
        cancel,
    };
    writer.out.write_all(MAGIC)?;
    writer.entry(folder, Path::new(""))?;
    writer.out.write_all(&[END])?;
    writer.out.flush()
}

struct Writer<'a> {
    out: BufWriter<File>,
    /// Names of files that have more than one, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    cancel: &'a Cancel,
}

impl Writer<'_> {
    fn entry(&mut self, at: &Path, path: &Path) -> io::Result<()> {
        self.cancel.check()?;
        let found = fs::symlink_metadata(at)?;
        let kind = found.file_type();
        let first = (found.nlink() > 1 && !kind.is_dir())
            .then(|| self.links.get(&(found.dev(), found.ino())).cloned())
            .flatten();
        if let Some(first) = first {
            self.out.write_all(&[LINK])?;
            self.text(path.as_os_str().as_bytes())?;
            return self.text(first.as_os_str().as_bytes());
        }
        let word = if kind.is_dir() {
            FOLDER
        } else if kind.is_file() {
            FILE
        } else if kind.is_symlink() {
            SYMLINK
        } else {
            NODE
        };
        self.out.write_all(&[word])?;
        self.text(path.as_os_str().as_bytes())?;
        for number in [found.mode(), found.uid(), found.gid()] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        for number in [found.mtime(), found.mtime_nsec()] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        self.attributes(at)?;
        match word {
            FOLDER => {
                let mut names = fs::read_dir(at)?
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()?;
                names.sort();
                for name in names {
                    self.entry(&at.join(&name), &path.join(&name))?;
                }
                return Ok(());
            }
            FILE => {
                let file = File::open(at)?;
                self.out.write_all(&found.len().to_le_bytes())?;
                let copied = io::copy(&mut file.take(found.len()), &mut self.out)?;
                if copied != found.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            SYMLINK => {
                let target = fs::read_link(at)?;
                self.text(target.as_os_str().as_bytes())?;
            }
            _ => self.out.write_all(&found.rdev().to_le_bytes())?,
        }
        if found.nlink() > 1 {
            let key = (found.dev(), found.ino());
            self.links.insert(key, path.to_owned());
        }
        Ok(())
    }

    fn attributes(&mut self, at: &Path) -> io::Result<()> {
        let mut names = vec![0; TEXT_MAX as usize];
        let length = match llistxattr(at, &mut names) {
            Ok(length) => length,
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            Err(error) => return Err(error.into()),
        };
        let names: Vec<&[u8]> = names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .collect();
        self.out.write_all(&count(names.len())?.to_le_bytes())?;
        let mut value = vec![0; TEXT_MAX as usize];
        for name in names {
            let length = lgetxattr(at, name, &mut value)?;
            self.text(name)?;
            self.text(&value[..length])?;
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(&count(text.len())?.to_le_bytes())?;
        self.out.write_all(text)
    }
}

fn count(length: usize) -> io::Result<u32> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= TEXT_MAX)
        .ok_or_else(|| io::Error::other("a text is too long"))
}

/// Makes the folder `into`, which must not be there, with all that was written of one.
pub(super) fn read(from: &Path, into: &Path) -> io::Result<()> {
    let mut reader = Reader {
        input: BufReader::with_capacity(BUFFER, File::open(from)?),
        into,
        folders: HashSet::new(),
        times: Vec::new(),
    };
    let mut magic = [0; MAGIC.len()];
    reader.input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(damaged("it does not begin like one"));
    }
    while reader.entry()? {}
    // What was put into folders has changed their times.
    for (folder, times) in reader.times.iter().rev() {
        utimensat(CWD, folder, times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

struct Reader<'a> {
    input: BufReader<File>,
    into: &'a Path,
    /// Those that were made here: nothing is put anywhere else, whatever the names say.
    folders: HashSet<PathBuf>,
    times: Vec<(PathBuf, Timestamps)>,
}

impl Reader<'_> {
    /// False at the end.
    fn entry(&mut self) -> io::Result<bool> {
        let [kind] = self.bytes()?;
        if kind == END {
            return Ok(false);
        }
        let path = self.path()?;
        let at = if path.as_os_str().is_empty() {
            self.into.to_owned()
        } else {
            let parent = path.parent().unwrap_or(Path::new(""));
            if !self.folders.contains(parent) {
                return Err(damaged("an entry has no folder"));
            }
            self.into.join(&path)
        };
        if kind == LINK {
            let first = self.path()?;
            let parent = first.parent().unwrap_or(Path::new(""));
            if !self.folders.contains(parent) {
                return Err(damaged("a link has no folder"));
            }
            fs::hard_link(self.into.join(first), at)?;
            return Ok(true);
        }
        let [mode, user, group] = [self.number()?, self.number()?, self.number()?];
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: i64::from_le_bytes(self.bytes()?),
                tv_nsec: i64::from_le_bytes(self.bytes()?),
            },
        };
        let count = self.number()?;
        let mut attributes = Vec::new();
        for _ in 0..count {
            attributes.push((self.text()?, self.text()?));
        }
        match kind {
            FOLDER => {
                fs::DirBuilder::new().mode(0o700).create(&at)?;
                self.folders.insert(path);
            }
            FILE => {
                let length = u64::from_le_bytes(self.bytes()?);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&at)?;
                let copied = io::copy(&mut (&mut self.input).take(length), &mut file)?;
                if copied != length {
                    return Err(damaged("it ends too early"));
                }
            }
            SYMLINK => {
                let target = self.text()?;
                symlink(OsStr::from_bytes(&target), &at)?;
            }
            NODE => {
                let device = u64::from_le_bytes(self.bytes()?);
                let of = FileType::from_raw_mode(mode);
                mknodat(CWD, &at, of, Mode::from_raw_mode(0o600), device)?;
            }
            _ => return Err(damaged("an entry is of no kind")),
        }
        chownat(
            CWD,
            &at,
            Some(Uid::from_raw(user)),
            Some(Gid::from_raw(group)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        if kind != SYMLINK {
            // After the owner, whose change takes the set-user-id bit away.
            chmodat(
                CWD,
                &at,
                Mode::from_raw_mode(mode & 0o7777),
                AtFlags::empty(),
            )?;
        }
        // After the owner as well, which takes file capabilities away.
        for (name, value) in &attributes {
            lsetxattr(&at, name.as_slice(), value, XattrFlags::empty())?;
        }
        if kind == FOLDER {
            self.times.push((at, times));
        } else {
            utimensat(CWD, &at, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(true)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let length = self.number()?;
        if length > TEXT_MAX {
            return Err(damaged("a text is too long"));
        }
        let mut text = vec![0; length as usize];
        self.input.read_exact(&mut text)?;
        Ok(text)
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        let path = PathBuf::from(OsStr::from_bytes(&self.text()?));
        let is_plain = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if is_plain {
            Ok(path)
        } else {
            Err(damaged("a path leads elsewhere"))
        }
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the files of a layer are damaged: {what}"),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};

    use super::*;

    /// A tree with one of each kind.
    fn tree(folder: &Path) {
        fs::create_dir(folder).unwrap();
        fs::create_dir(folder.join("bin")).unwrap();
        fs::write(folder.join("bin/tool"), "set-user-id").unwrap();
        chown(folder.join("bin/tool"), Some(7), Some(8)).unwrap();
        let mode = fs::Permissions::from_mode(0o4755);
        fs::set_permissions(folder.join("bin/tool"), mode).unwrap();
        lsetxattr(
            folder.join("bin/tool"),
            "trusted.overlay.origin",
            b"\0\x01",
            XattrFlags::empty(),
        )
        .unwrap();
        fs::hard_link(folder.join("bin/tool"), folder.join("another")).unwrap();
        symlink("/nowhere", folder.join("link")).unwrap();
        let gone = folder.join("gone");
        mknodat(CWD, &gone, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        let pipe = folder.join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        fs::set_permissions(folder.join("bin"), fs::Permissions::from_mode(0o1777)).unwrap();
        let old = Timestamps {
            last_access: Timespec {
                tv_sec: 5,
                tv_nsec: 6,
            },
            last_modification: Timespec {
                tv_sec: 7,
                tv_nsec: 8,
            },
        };
        for name in ["bin", "link", "gone"] {
            let path = folder.join(name);
            utimensat(CWD, &path, &old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }

    /// All that is to be the same.
    fn facts(folder: &Path) -> Vec<String> {
        let names = ["", "bin", "bin/tool", "another", "link", "gone", "pipe"];
        let facts = names.map(|name| {
            let path = folder.join(name);
            let found = fs::symlink_metadata(&path).unwrap();
            let mut value = [0; 8];
            let attribute = lgetxattr(&path, "trusted.overlay.origin", &mut value).ok();
            let time = (!name.is_empty()).then(|| (found.mtime(), found.mtime_nsec()));
            format!(
                "{name} {:o} {} {} {} {:?} {:?} {:?} {:?}",
                found.mode(),
                found.uid(),
                found.gid(),
                found.rdev(),
                time,
                attribute.map(|length| value[..length].to_vec()),
                fs::read_link(&path).ok(),
                found.is_file().then(|| fs::read(&path).unwrap()),
            )
        });
        facts.to_vec()
    }

    #[test]
    fn a_tree_comes_back_with_all_that_overlayfs_and_programs_see() {
        let place = tempfile::tempdir().unwrap();
        let [from, file, to] = ["from", "file", "to"].map(|name| place.path().join(name));
        tree(&from);
        write(&from, &file, &Cancel::never()).unwrap();
        read(&file, &to).unwrap();
        assert_eq!(facts(&to), facts(&from));
        let inode = |name| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("another"), inode("bin/tool"));
        let gone = fs::symlink_metadata(to.join("gone")).unwrap();
        assert!(gone.file_type().is_char_device());
    }

    #[test]
    fn what_is_cut_off_is_no_tree() {
        let place = tempfile::tempdir().unwrap();
        let [from, file] = ["from", "file"].map(|name| place.path().join(name));
        tree(&from);
        write(&from, &file, &Cancel::never()).unwrap();
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let to = place.path().join(format!("to{length}"));
            read(&file, &to).unwrap_err();
        }
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        let entry = |kind: u8, path: &str, rest: &[u8]| {
            let mut bytes = vec![kind];
            bytes.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
            bytes.extend(path.as_bytes());
            bytes.extend([0; 12 + 16 + 4]);
            bytes.extend(rest);
            bytes
        };
        let target = place.path().display().to_string();
        let mut link = u32::try_from(target.len()).unwrap().to_le_bytes().to_vec();
        link.extend(target.as_bytes());
        let folder = entry(FOLDER, "", &[]);
        let empty = 0_u64.to_le_bytes();
        let through = [entry(SYMLINK, "up", &link), entry(FILE, "up/out", &empty)].concat();
        for hostile in [
            through,
            entry(FILE, "../out", &empty),
            entry(FILE, "/out", &empty),
        ] {
            let bytes = [MAGIC.as_slice(), &folder, &hostile, &[END]].concat();
            fs::write(&file, bytes).unwrap();
            let into = place.path().join("into");
            read(&file, &into).unwrap_err();
            assert!(!place.path().join("out").exists());
            fs::remove_dir_all(&into).unwrap();
        }
        // The control.
        let whole = [
            MAGIC.as_slice(),
            &folder,
            &entry(FILE, "in", &empty),
            &[END],
        ]
        .concat();
        fs::write(&file, whole).unwrap();
        read(&file, &place.path().join("into")).unwrap();
    }
}
