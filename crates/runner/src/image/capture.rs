//! What a sandbox has written, as files of a layer: for the steps of builds, and where an image would have too many
//! layers that are disks.
//!
//! What overlayfs keeps in the writable layer is turned into an archive in the words of the OCI
//! specification, and goes through the same door as every other layer: the store sees no difference between
//! an image that was pulled and one that was captured. Folders that were renamed stand in the writable layer
//! as a reference to where they were; they are written out whole, from what the sandbox sees.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use alcove_runner_api::v1::{ImageDigest, ImageEntry};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use serde_json::json;

use super::collect::Pin;
use super::content::Sha256Digest;
use super::error::ImageError;
use super::layer;
use super::limits::Limits;
use super::record::{BuiltConfig, ImageConfig};
use super::store::{ImageStore, entry};
use super::tar_writer::{self, Content, Xattrs};
use crate::cancel::Cancel;
use crate::mounts::DiskView;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const REDIRECT_ATTRIBUTE: &str = "trusted.overlay.redirect";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
/// The kernel's bounds for names and values of extended attributes.
const XATTR_MAX_BYTES: usize = 64 << 10;
const BUFFER: usize = 1 << 20;

/// What an image is captured from.
#[derive(Debug)]
pub struct Capture<'a> {
    /// The image that the sandbox was made from.
    pub base: &'a ImageDigest,
    /// Layers of the base that are disks, by their place in it, to be turned into files.
    pub below: &'a [(usize, DiskView)],
    pub view: &'a DiskView,
    pub cancel: &'a Cancel,
}

impl ImageStore {
    /// Makes an image of a sandbox's files under this name; one that has the name already is the one.
    pub fn capture(&self, name: &str, capture: &Capture<'_>) -> Result<ImageEntry, ImageError> {
        if let Some(image) = self.get_by_name(name) {
            return Ok(entry(name, &image));
        }
        let base = self.record(capture.base)?;
        let mut layers = base.layers;
        // Nobody takes a layer away before its image is there.
        let mut pins = Vec::with_capacity(capture.below.len() + 1);
        for (index, view) in capture.below {
            let (digest, pin) = self.capture_layer(view, capture.cancel)?;
            layers[*index] = digest;
            pins.push(pin);
        }
        let (digest, pin) = self.capture_layer(capture.view, capture.cancel)?;
        layers.push(digest);
        pins.push(pin);
        self.compose(name, &layers, base.config)
    }

    /// Makes an image of these layers and of what a sandbox on them has written, without a configuration.
    pub fn capture_step(
        &self,
        name: &str,
        layers: &[Sha256Digest],
        view: &DiskView,
        cancel: &Cancel,
    ) -> Result<ImageEntry, ImageError> {
        let (digest, _pin) = self.capture_layer(view, cancel)?;
        let mut layers = layers.to_vec();
        layers.push(digest);
        self.compose(name, &layers, ImageConfig::default())
    }

    /// Makes a layer of what a sandbox has written.
    fn capture_layer(
        &self,
        view: &DiskView,
        cancel: &Cancel,
    ) -> Result<(Sha256Digest, Pin<'_>), ImageError> {
        let unpacked = self.new_layer()?;
        let folder = unpacked.path().join("fs");
        let (reader, writer) = io::pipe().map_err(ImageError::Capture)?;
        let (written, read) = std::thread::scope(|scope| {
            let limits = self.limits();
            let writing = scope.spawn(move || write_layer(view, cancel, limits, writer));
            // The reader's end is dropped with the call: a writer that is not done yet then fails.
            let go_on = || self.may_write(cancel);
            let read = layer::unpack_any(reader, &folder, limits, &go_on);
            let written = writing
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that reads them panicked")));
            (written, read)
        });
        // What the writer met explains why the reader found the end too early, except where the reader
        // stopped first.
        let (outcome, digest) = match (written, read) {
            (Ok(()), read) => read.map_err(ImageError::CaptureLayer)?,
            (Err(error), Err(source)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(ImageError::CaptureLayer(source));
            }
            (Err(error), _) => return Err(ImageError::Capture(error)),
        };
        let pin = self.pin(std::iter::once(digest));
        self.keep_layer(unpacked, digest, outcome)?;
        Ok((digest, pin))
    }
}

/// The digest of the image's configuration: what an image is known by that has no manifest yet.
pub(super) fn identity(config: &ImageConfig, layers: &[Sha256Digest]) -> Sha256Digest {
    let mut shown = json!({
        "User": config.user,
        "WorkingDir": config.workdir,
        "Env": config.env,
        "Entrypoint": config.entrypoint,
        "Cmd": config.cmd,
    });
    if config.build != BuiltConfig::default() {
        shown["alcove.build"] = json!(config.build);
    }
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": shown,
        "rootfs": { "type": "layers", "diff_ids": layers },
    });
    Sha256Digest::of(configuration.to_string().as_bytes())
}

fn write_layer(
    view: &DiskView,
    cancel: &Cancel,
    limits: &Limits,
    out: impl Write,
) -> io::Result<()> {
    let mut writer = Writer {
        out: BufWriter::with_capacity(BUFFER, out),
        links: HashMap::new(),
        limits,
        cancel,
    };
    let (upper, merged) = (view.upper.as_fd(), view.merged.as_fd());
    let root = statat(merged, ".", AtFlags::empty())?;
    writer.put(b"./", &root, &xattrs(merged)?, Content::Folder)?;
    writer.folder(Some(upper), merged, b"", 0)?;
    tar_writer::finish(&mut writer.out)
}

struct Writer<'a, W: Write> {
    out: BufWriter<W>,
    /// Files with several names, by device and number: the name that was written first.
    links: HashMap<(u64, u64), Vec<u8>>,
    limits: &'a Limits,
    cancel: &'a Cancel,
}

impl<W: Write> Writer<'_, W> {
    fn put(
        &mut self,
        path: &[u8],
        found: &Stat,
        xattrs: &Xattrs,
        content: Content<'_, File>,
    ) -> io::Result<()> {
        tar_writer::write(&mut self.out, path, found, xattrs, content)
    }

    /// Everything in a folder: what the writable layer has in it, or without `upper` all that there is.
    fn folder(
        &mut self,
        upper: Option<BorrowedFd<'_>>,
        merged: BorrowedFd<'_>,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        if depth > self.limits.path_depth {
            return Err(refused("folders lie too deep in each other", path));
        }
        for name in names(upper.unwrap_or(merged))? {
            self.cancel.check()?;
            let path = join(path, &name);
            let own = match upper {
                Some(upper) => Some(statat(upper, &name[..], AtFlags::SYMLINK_NOFOLLOW)?),
                None => None,
            };
            if let Some(own) = own.as_ref().filter(|own| is_whiteout(own)) {
                let mark = mark(&path, &[WHITEOUT, &name[..]].concat());
                self.put(&mark, own, &Vec::new(), Content::Mark)?;
                continue;
            }
            if name.starts_with(WHITEOUT) {
                let what = "a name that begins with .wh. means a removal in an image";
                return Err(refused(what, &path));
            }
            let found = match statat(merged, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => found,
                // Marks of overlayfs itself, which nobody inside sees.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            self.node(upper, merged, &name, &path, &found, depth)?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        upper: Option<BorrowedFd<'_>>,
        merged: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        found: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Directory {
            return self.subfolder(upper, merged, name, path, found, depth);
        }
        if found.st_nlink > 1 {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                return self.put(path, found, &Vec::new(), Content::HardLink(&first));
            }
            self.links.insert(key, path.to_vec());
        }
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(merged, name, flags, Mode::empty())?;
                let xattrs = xattrs(file.as_fd())?;
                let mut file = File::from(file);
                self.put(path, found, &xattrs, Content::File(&mut file))
            }
            FileType::Symlink => {
                let target = readlinkat(merged, name, Vec::new())?;
                self.put(
                    path,
                    found,
                    &Vec::new(),
                    Content::Symlink(target.as_bytes()),
                )
            }
            FileType::Fifo => self.put(path, found, &Vec::new(), Content::Fifo),
            // Sockets mean nothing without who listens, and a sandbox has its own devices.
            _ => Ok(()),
        }
    }

    fn subfolder(
        &mut self,
        upper: Option<BorrowedFd<'_>>,
        merged: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        found: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        let inner = open_folder(merged, name)?;
        let own = match upper {
            Some(upper) => Some(open_folder(upper, name)?),
            None => None,
        };
        let has = |attribute: &str| -> io::Result<bool> {
            match &own {
                Some(own) => has_attribute(own, attribute),
                None => Ok(false),
            }
        };
        let was_renamed = has(REDIRECT_ATTRIBUTE)?;
        self.put(path, found, &xattrs(inner.as_fd())?, Content::Folder)?;
        if was_renamed || has(OPAQUE_ATTRIBUTE)? {
            let mark = join(path, OPAQUE);
            self.put(&mark, found, &Vec::new(), Content::Mark)?;
        }
        let own = own.as_ref().filter(|_| !was_renamed).map(AsFd::as_fd);
        self.folder(own, inner.as_fd(), path, depth + 1)
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

/// The path of a mark in place of the entry that `path` names.
fn mark(path: &[u8], name: &[u8]) -> Vec<u8> {
    let folder = path.iter().rposition(|byte| *byte == b'/');
    join(&path[..folder.unwrap_or(0)], name)
}

fn refused(what: &str, path: &[u8]) -> io::Error {
    let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {path:?}"))
}

fn open_folder(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

/// In order, so that the same files make the same layer.
fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for found in rustix::fs::Dir::read_from(folder)? {
        let name = found?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

fn has_attribute(folder: &OwnedFd, name: &str) -> io::Result<bool> {
    let mut value = [0_u8; 1];
    match rustix::fs::fgetxattr(folder, name, &mut value) {
        Ok(_) | Err(Errno::RANGE) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The attributes that a layer may have.
fn xattrs(file: BorrowedFd<'_>) -> io::Result<Xattrs> {
    let mut list = vec![0_u8; XATTR_MAX_BYTES];
    let length = match rustix::fs::flistxattr(file, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let mut value = vec![0_u8; XATTR_MAX_BYTES];
        let length = rustix::fs::fgetxattr(file, name, &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort_unstable();
    Ok(found)
}
