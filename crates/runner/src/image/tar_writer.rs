//! The way out of a sandbox: entries of a tar archive, as `tar_stream` reads them.

use std::io::{self, Read, Write};

use rustix::fs::Stat;
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Longest text in the name fields of the plain header; longer ones go into the extended one.
const NAME_MAX: usize = 100;
/// Eleven octal digits.
const SIZE_MAX: u64 = 0o777_7777_7777;

/// What an entry is besides its metadata.
#[derive(Debug)]
pub enum Content<'a, R> {
    Folder,
    File(&'a mut R),
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    Fifo,
    /// A mark of our own, without metadata.
    Mark,
}

pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes one entry. A file's bytes are as many as `found` says; fewer are an error.
pub fn write<R: Read>(
    out: &mut impl Write,
    path: &[u8],
    found: &Stat,
    xattrs: &Xattrs,
    content: Content<'_, R>,
) -> io::Result<()> {
    let mut extended = Vec::new();
    let mut header = Header::new_ustar();
    let (kind, link, bytes, file) = match content {
        Content::Folder => (EntryType::Directory, None, 0, None),
        Content::File(file) => {
            let bytes = u64::try_from(found.st_size).unwrap_or(0);
            (EntryType::Regular, None, bytes, Some(file))
        }
        Content::Symlink(target) => (EntryType::Symlink, Some(target), 0, None),
        Content::HardLink(target) => (EntryType::Link, Some(target), 0, None),
        Content::Fifo => (EntryType::Fifo, None, 0, None),
        Content::Mark => (EntryType::Regular, None, 0, None),
    };
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    name(&mut header.as_old_mut().name, "path", path, &mut extended);
    if let Some(link) = link {
        name(
            &mut header.as_old_mut().linkname,
            "linkpath",
            link,
            &mut extended,
        );
    }
    if kind == EntryType::Regular && file.is_none() {
        header.set_mode(0o644);
    } else {
        header.set_mode(found.st_mode & 0o7777);
        header.set_uid(found.st_uid.into());
        header.set_gid(found.st_gid.into());
        let seconds = found.st_mtime;
        let nanoseconds = found.st_mtime_nsec;
        header.set_mtime(u64::try_from(seconds).unwrap_or(0).min(SIZE_MAX));
        if nanoseconds != 0 || seconds < 0 {
            record(
                &mut extended,
                b"mtime",
                time(seconds, nanoseconds).as_bytes(),
            );
        }
        for (key, value) in xattrs {
            record(&mut extended, &[b"SCHILY.xattr.", &key[..]].concat(), value);
        }
    }
    if bytes > SIZE_MAX {
        record(&mut extended, b"size", bytes.to_string().as_bytes());
    }
    header.set_size(bytes.min(SIZE_MAX));
    header.set_cksum();
    if !extended.is_empty() {
        let mut before = Header::new_ustar();
        before.set_entry_type(EntryType::XHeader);
        before.set_mode(0o644);
        before.set_uid(0);
        before.set_gid(0);
        before.set_mtime(0);
        before.as_old_mut().name[..3].copy_from_slice(b"pax");
        before.set_size(extended.len() as u64);
        before.set_cksum();
        out.write_all(before.as_bytes())?;
        out.write_all(&extended)?;
        fill(out, extended.len() as u64)?;
    }
    out.write_all(header.as_bytes())?;
    if let Some(file) = file {
        let copied = io::copy(&mut file.take(bytes), out)?;
        if copied != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fill(out, bytes)?;
    }
    Ok(())
}

/// The end of an archive.
pub fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 1024])?;
    out.flush()
}

fn name(field: &mut [u8; NAME_MAX], key: &str, text: &[u8], extended: &mut Vec<u8>) {
    if text.len() <= NAME_MAX {
        field[..text.len()].copy_from_slice(text);
    } else {
        record(extended, key.as_bytes(), text);
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits too.
fn record(extended: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    extended.extend_from_slice(length.to_string().as_bytes());
    extended.push(b' ');
    extended.extend_from_slice(key);
    extended.push(b'=');
    extended.extend_from_slice(value);
    extended.push(b'\n');
}

/// The kernel counts nanoseconds forwards from the second before.
fn time(seconds: i64, nanoseconds: impl Into<i128>) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + nanoseconds.into();
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    format!(
        "{sign}{}.{:09}",
        total / 1_000_000_000,
        total % 1_000_000_000
    )
}

fn fill(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let left = bytes.next_multiple_of(BLOCK) - bytes;
    io::copy(&mut io::repeat(0).take(left), out).map(|_| ())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::super::pax::Pax;
    use super::*;

    proptest! {
        #[test]
        fn what_is_written_into_an_extended_header_is_read_from_it(
            path in prop::collection::vec(any::<u8>(), 1..1200),
            value in prop::collection::vec(any::<u8>(), 1..1200),
            seconds in -100_000i64..100_000,
            nanoseconds in 0u32..1_000_000_000,
        ) {
            let mut extended = Vec::new();
            record(&mut extended, b"path", &path);
            record(&mut extended, b"SCHILY.xattr.user.a", &value);
            record(&mut extended, b"mtime", time(seconds, nanoseconds).as_bytes());
            let read = Pax::parse(&extended).unwrap();
            prop_assert_eq!(read.path, Some(path));
            prop_assert_eq!(read.xattrs, vec![(b"user.a".to_vec(), value)]);
            prop_assert_eq!(read.mtime, Some((seconds, nanoseconds)));
        }
    }
}
