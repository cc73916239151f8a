//! A tar stream as a list of checked entries.
//!
//! Ours and not the iterator of the `tar` crate, because that one reads names of any length into memory and
//! splits values of extended headers at line ends. Its header type does the number formats. Nothing here
//! touches the disk.

use std::fmt;
use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::{EntryError, LayerError};
use super::limits::Limits;
use super::pax::Pax;

/// A path below the root of a layer: no empty part, no `.`, no `..`, no zero byte. Empty for the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerPath(Vec<Vec<u8>>);

impl LayerPath {
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, EntryError> {
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(EntryError::BadPath);
        }
        if bytes.len() > limits.path_bytes {
            return Err(EntryError::TooLong {
                limit: limits.path_bytes,
            });
        }
        if bytes.starts_with(b"/") && !limits.takes_absolute_paths {
            return Err(EntryError::Absolute);
        }
        let mut parts = Vec::new();
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(EntryError::ParentFolder),
                _ => parts.push(part.to_vec()),
            }
        }
        if parts.len() > limits.path_depth {
            return Err(EntryError::TooDeep {
                limit: limits.path_depth,
            });
        }
        Ok(Self(parts))
    }

    pub fn parts(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The folder it is in and its name there; nothing for the root.
    pub fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        let (name, folder) = self.0.split_last()?;
        Some((folder, name))
    }
}

/// For messages: what is not text is replaced.
impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0.join(&b'/')))
    }
}

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    Folder,
    /// Its bytes follow: [`TarStream::read`].
    File {
        bytes: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: LayerPath,
    },
    Fifo,
    /// Character and block devices. A sandbox has its own `/dev`, so images need none.
    Device,
}

/// One entry, checked as far as it can be without looking at the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: LayerPath,
    pub kind: EntryKind,
    /// Permissions with the set-user-id, set-group-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    /// Only those that a layer may set.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

const BLOCK: usize = 512;

/// Reads entries one after the other; after a file its bytes can be read from the stream itself.
#[derive(Debug)]
pub struct TarStream<R> {
    input: R,
    limits: Limits,
    entries: u64,
    /// Bytes of the current entry not read yet, and the filling after them.
    body: u64,
    filling: u64,
}

impl<R: Read> TarStream<R> {
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input,
            limits,
            entries: 0,
            body: 0,
            filling: 0,
        }
    }

    /// The stream behind the archive, to be read to its end.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next entry, or nothing at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.entries += 1;
            if self.entries > self.limits.layer_entries {
                return Err(LayerError::TooLarge {
                    what: "entries",
                    limit: self.limits.layer_entries,
                });
            }
            let shown_path = extensions.shown_path(&header);
            let refuse = |source| LayerError::Entry {
                path: shown_path,
                source,
            };
            let kind = header.entry_type();
            // The extended header wins over the plain one, but for the entry itself only.
            let is_extension = matches!(
                kind,
                EntryType::XHeader
                    | EntryType::XGlobalHeader
                    | EntryType::GNULongName
                    | EntryType::GNULongLink
            );
            let size = match extensions.pax.size {
                Some(size) if !is_extension => size,
                _ => match header.entry_size() {
                    Ok(size) => size,
                    Err(_) => return Err(refuse(EntryError::BadNumber { field: "size" })),
                },
            };
            if size > self.limits.layer_bytes {
                return Err(LayerError::TooLarge {
                    what: "bytes",
                    limit: self.limits.layer_bytes,
                });
            }
            self.body = size;
            self.filling = size.wrapping_neg() % BLOCK as u64;
            match kind {
                EntryType::XGlobalHeader => {}
                EntryType::XHeader => {
                    if size > self.limits.pax_bytes {
                        return Err(refuse(EntryError::BadExtension));
                    }
                    let bytes = self.small_body(size)?;
                    extensions.pax = Pax::parse(&bytes).map_err(refuse)?;
                }
                EntryType::GNULongName | EntryType::GNULongLink => {
                    if size > self.limits.path_bytes as u64 + 1 {
                        return Err(refuse(EntryError::TooLong {
                            limit: self.limits.path_bytes,
                        }));
                    }
                    let mut bytes = self.small_body(size)?;
                    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                        bytes.truncate(end);
                    }
                    if kind == EntryType::GNULongName {
                        extensions.path = Some(bytes);
                    } else {
                        extensions.link = Some(bytes);
                    }
                }
                _ => {
                    return entry(&header, size, &mut extensions, &self.limits)
                        .map(Some)
                        .map_err(refuse);
                }
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                // Some writers leave out the two empty blocks at the end.
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(LayerError::Truncated),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Read(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The field of the checksum counts as eight spaces.
        let own = block[148..156]
            .iter()
            .map(|byte| u32::from(*byte))
            .sum::<u32>();
        let expected = header.cksum().map_err(|_| LayerError::BadHeader)?;
        if sum - own + 8 * 32 != expected {
            return Err(LayerError::BadHeader);
        }
        Ok(Some(header))
    }

    fn small_body(&mut self, size: u64) -> Result<Vec<u8>, LayerError> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(LayerError::Read)?;
        if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            Err(LayerError::Truncated)
        }
    }

    fn skip(&mut self) -> Result<(), LayerError> {
        let left = self.body + self.filling;
        let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink())
            .map_err(LayerError::Read)?;
        self.body = 0;
        self.filling = 0;
        if skipped == left {
            Ok(())
        } else {
            Err(LayerError::Truncated)
        }
    }
}

/// Reads the bytes of the current entry.
impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.input).take(self.body).read(buffer)?;
        self.body -= count as u64;
        Ok(count)
    }
}

/// What stands before an entry and changes it.
#[derive(Debug, Default)]
struct Extensions {
    pax: Pax,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn path(&self, header: &Header) -> Vec<u8> {
        let longer = self.pax.path.as_ref().or(self.path.as_ref());
        longer
            .cloned()
            .unwrap_or_else(|| header.path_bytes().into_owned())
    }

    fn shown_path(&self, header: &Header) -> String {
        let path = self.path(header);
        String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
    }

    fn link(&self, header: &Header) -> Vec<u8> {
        let longer = self.pax.link.as_ref().or(self.link.as_ref());
        let plain = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
        longer.cloned().or_else(plain).unwrap_or_default()
    }
}

fn entry(
    header: &Header,
    bytes: u64,
    extensions: &mut Extensions,
    limits: &Limits,
) -> Result<Entry, EntryError> {
    let name = extensions.path(header);
    let path = LayerPath::parse(&name, limits)?;
    let kind = match header.entry_type() {
        EntryType::Directory => EntryKind::Folder,
        // The oldest archives have no type for folders, only a slash at the end.
        EntryType::Regular if name.ends_with(b"/") => EntryKind::Folder,
        EntryType::Regular | EntryType::Continuous => EntryKind::File { bytes },
        EntryType::Symlink => EntryKind::Symlink {
            target: symlink_target(extensions.link(header), limits)?,
        },
        EntryType::Link => EntryKind::HardLink {
            target: LayerPath::parse(&extensions.link(header), limits)?,
        },
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::Char | EntryType::Block => EntryKind::Device,
        EntryType::GNUSparse => return Err(EntryError::Sparse),
        other => {
            return Err(EntryError::Kind {
                kind: char::from(other.as_byte()),
            });
        }
    };
    let mode = header
        .mode()
        .map_err(|_| EntryError::BadNumber { field: "mode" })?;
    let pax = std::mem::take(&mut extensions.pax);
    let plain = header.as_old();
    Ok(Entry {
        path,
        kind,
        mode: mode & 0o7777,
        uid: owner(
            pax.uid,
            unless_blank(&plain.uid, header.uid()),
            "uid",
            limits,
        )?,
        gid: owner(
            pax.gid,
            unless_blank(&plain.gid, header.gid()),
            "gid",
            limits,
        )?,
        mtime: match pax.mtime {
            Some(mtime) => mtime,
            None => (plain_mtime(header)?, 0),
        },
        xattrs: pax.xattrs.into_iter().filter(may_be_set).collect(),
    })
}

/// Writers leave out what they think means nothing elsewhere, as the one that TypeScript clients pack contexts with
/// does with owners. Such a field is 0 to everybody.
fn unless_blank(field: &[u8], number: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        Ok(0)
    } else {
        number
    }
}

fn owner(
    pax: Option<u64>,
    plain: io::Result<u64>,
    field: &'static str,
    limits: &Limits,
) -> Result<u32, EntryError> {
    let id = match pax {
        Some(id) => id,
        None => plain.map_err(|_| EntryError::BadNumber { field })?,
    };
    let limit = limits.owner_id;
    if id > limit {
        return Err(EntryError::Owner { id, limit });
    }
    u32::try_from(id).map_err(|_| EntryError::Owner { id, limit })
}

fn plain_mtime(header: &Header) -> Result<i64, EntryError> {
    let bad = EntryError::BadNumber { field: "mtime" };
    match unless_blank(&header.as_old().mtime, header.mtime()) {
        Ok(seconds) => i64::try_from(seconds).map_err(|_| bad),
        Err(_) => Err(bad),
    }
}

fn symlink_target(target: Vec<u8>, limits: &Limits) -> Result<Vec<u8>, EntryError> {
    if target.is_empty() || target.contains(&0) {
        return Err(EntryError::BadPath);
    }
    // The kernel counts the zero byte at the end.
    if target.len() >= limits.path_bytes {
        return Err(EntryError::TooLong {
            limit: limits.path_bytes,
        });
    }
    Ok(target)
}

/// Length of a `security.capability` value of revision 2, which holds no user id. Revision 3 names an id
/// of the machine that the image was made on.
const CAPABILITY_BYTES: usize = 20;

/// Attributes that may come out of a layer: the user's own, and file capabilities. `trusted.*` and
/// `user.overlay.*` are how overlayfs keeps its books; `system.*` holds access lists with ids that are
/// not ours; other `security.*` are the host's.
fn may_be_set((name, value): &(Vec<u8>, Vec<u8>)) -> bool {
    if name.contains(&0) {
        return false;
    }
    if name == b"security.capability" {
        return value.len() == CAPABILITY_BYTES;
    }
    name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

#[cfg(test)]
#[path = "tar_stream_tests.rs"]
mod tests;
