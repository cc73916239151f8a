//! Archives that `ADD` unpacks.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Component, Path};

use flate2::bufread::MultiGzDecoder;

use super::target::{Terms, make_folders};

const BLOCK: usize = 512;

/// First bytes of compressions that are not understood, with their names.
const UNKNOWN: [(&[u8], &str); 3] = [
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
];

/// Unpacks an archive into the folder `target`. What is no archive is left alone, and the answer is no.
///
/// # Errors
/// The reason in words.
pub fn unpack_if_archive(file: &File, target: &Path, terms: &Terms) -> Result<bool, String> {
    let broken = |error: io::Error| format!("the archive cannot be read: {error}");
    let mut start = Vec::new();
    open(file, false)
        .map_err(broken)?
        .take(BLOCK as u64)
        .read_to_end(&mut start)
        .map_err(broken)?;
    if let Some((_, name)) = UNKNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(format!(
            "archives that are compressed with {name} are not supported"
        ));
    }
    let is_gzip = start.starts_with(&[0x1f, 0x8b]);
    if is_gzip {
        start.clear();
        let decoder = open(file, true).map_err(broken)?;
        if decoder.take(BLOCK as u64).read_to_end(&mut start).is_err() {
            return Ok(false);
        }
    }
    if !is_header(&start) {
        return Ok(false);
    }
    make_folders(target, terms)?;
    let mut archive = tar::Archive::new(open(file, is_gzip).map_err(broken)?);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_overwrite(true);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let names_nothing = !path
            .components()
            .any(|part| matches!(part, Component::Normal(_)));
        if names_nothing && entry.header().entry_type().is_dir() {
            // The folder itself.
            let header = entry.header();
            let id = |id: io::Result<u64>| {
                u32::try_from(id.map_err(broken)?)
                    .map_err(|_| "the archive has an owner beyond all ids".to_owned())
            };
            let (uid, gid) = match terms.owner {
                Some(owner) => owner,
                None => (id(header.uid())?, id(header.gid())?),
            };
            let mode = header.mode().map_err(broken)? & 0o7777;
            lchown(target, Some(uid), Some(gid))
                .and_then(|()| fs::set_permissions(target, fs::Permissions::from_mode(mode)))
                .map_err(|error| format!("{}: {error}", target.display()))?;
            continue;
        }
        let unpacked = entry
            .unpack_in(target)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if !unpacked {
            return Err(format!("{} leads out of the archive", path.display()));
        }
        if let Some((uid, gid)) = terms.owner {
            let to = target.join(&path);
            lchown(&to, Some(uid), Some(gid))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(true)
}

/// From its beginning.
fn open(file: &File, is_gzip: bool) -> io::Result<Box<dyn Read>> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    let reader = BufReader::with_capacity(128 << 10, file);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    })
}

/// Whether these bytes begin an archive: the sum in the header says so.
fn is_header(bytes: &[u8]) -> bool {
    let Some(block) = bytes.first_chunk::<BLOCK>() else {
        return false;
    };
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        })
        .sum();
    block[0] != 0 && header.cksum().is_ok_and(|written| written == sum)
}
