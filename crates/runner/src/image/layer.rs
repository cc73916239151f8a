//! One layer, from its blob to its folder.

use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::content::{Fingerprint, Sha256Digest};
use super::error::{EntryError, LayerError};
use super::limits::Limits;
use super::tar_stream::{Entry, EntryKind, TarStream};
use super::tree::LayerTree;

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Devices and leftovers that were passed over.
    pub skipped: u64,
}

/// Asked before each mebibyte of a plain archive whether to go on; an error ends the work. What is compressed well is little to read
/// and much to write, so bytes of the blob would be no measure.
pub type GoOn<'a> = &'a dyn Fn() -> io::Result<()>;

const LOOK_BYTES: usize = 1 << 20;

/// Unpacks `blob` into the empty folder `into` and checks that the plain archive is `diff_id`.
///
/// On failure the folder holds a part of the layer and must be thrown away.
pub fn unpack(
    blob: impl Read,
    diff_id: Sha256Digest,
    into: &Path,
    limits: &Limits,
    go_on: GoOn<'_>,
) -> Result<Unpacked, LayerError> {
    let (unpacked, found) = unpack_any(blob, into, limits, go_on)?;
    if found != diff_id {
        return Err(LayerError::WrongContent {
            expected: diff_id,
            found,
        });
    }
    Ok(unpacked)
}

/// Reads a layer through without unpacking it, and checks that the plain archive is `diff_id`.
pub fn check(
    blob: impl Read,
    diff_id: Sha256Digest,
    limits: &Limits,
    go_on: GoOn<'_>,
) -> Result<(), LayerError> {
    let mut plain = plain(blob, limits, go_on)?;
    io::copy(&mut plain, &mut io::sink()).map_err(LayerError::Read)?;
    let (found, _) = plain.seen.finish();
    if found != diff_id {
        return Err(LayerError::WrongContent {
            expected: diff_id,
            found,
        });
    }
    Ok(())
}

/// The archive in a blob.
pub fn plain<'a, R: Read>(
    blob: R,
    limits: &Limits,
    go_on: GoOn<'a>,
) -> Result<Plain<'a, BufReader<R>>, LayerError> {
    Ok(Plain {
        inner: Decoder::detect(BufReader::with_capacity(256 * 1024, blob))
            .map_err(LayerError::Read)?,
        seen: Fingerprint::default(),
        limit: limits.layer_bytes,
        go_on,
        until_look: 0,
    })
}

/// Unpacks `blob` into the empty folder `into`, whatever it holds, and tells what the plain archive is.
///
/// On failure the folder holds a part of the layer and must be thrown away.
pub fn unpack_any(
    blob: impl Read,
    into: &Path,
    limits: &Limits,
    go_on: GoOn<'_>,
) -> Result<(Unpacked, Sha256Digest), LayerError> {
    unpack_some(blob, into, limits, go_on, |_| Ok(true))
}

/// Like [`unpack_any`], asking about each entry. `chosen` may change its metadata; an entry for which it says no is
/// passed over.
pub fn unpack_some(
    blob: impl Read,
    into: &Path,
    limits: &Limits,
    go_on: GoOn<'_>,
    chosen: impl Fn(&mut Entry) -> Result<bool, EntryError>,
) -> Result<(Unpacked, Sha256Digest), LayerError> {
    let plain = plain(blob, limits, go_on)?;
    let mut tree = LayerTree::open(into).map_err(|source| LayerError::Finish {
        doing: "open the folder of",
        source,
    })?;
    let mut stream = TarStream::new(plain, *limits);
    let mut size_bytes = 0;
    while let Some(mut entry) = stream.next_entry()? {
        if !chosen(&mut entry).map_err(|source| blame(source, &entry.path.to_string()))? {
            continue;
        }
        if let EntryKind::File { bytes } = entry.kind {
            size_bytes += bytes;
        }
        tree.write(&entry, &mut stream)
            .map_err(|source| blame(source, &entry.path.to_string()))?;
    }
    let mut plain = stream.into_inner();
    // To the end and not only to the end of the archive: the digests are about all of it.
    io::copy(&mut plain, &mut io::sink()).map_err(LayerError::Read)?;
    let (found, _) = plain.seen.finish();
    let skipped = tree.finish().map_err(|source| LayerError::Finish {
        doing: "set the times of",
        source,
    })?;
    let unpacked = Unpacked {
        size_bytes,
        skipped,
    };
    Ok((unpacked, found))
}

fn blame(source: EntryError, path: &str) -> LayerError {
    LayerError::Entry {
        path: path.chars().take(200).collect(),
        source,
    }
}

/// The decompressed stream, bounded and hashed.
pub struct Plain<'a, R: Read> {
    inner: Decoder<R>,
    seen: Fingerprint,
    limit: u64,
    go_on: GoOn<'a>,
    until_look: usize,
}

impl<R: Read> Read for Plain<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.until_look == 0 {
            (self.go_on)()?;
            self.until_look = LOOK_BYTES;
        }
        let count = self.inner.read(buffer)?;
        self.until_look = self.until_look.saturating_sub(count);
        self.seen.update(&buffer[..count]);
        if self.seen.bytes() > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the layer holds more than {} bytes", self.limit),
            ));
        }
        Ok(count)
    }
}

/// A blob's compression, told by its first bytes: media types in the wild are often wrong about it.
pub enum Decoder<R: Read> {
    Plain(BufReader<Prefixed<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Prefixed<R>>>>),
    Zstd(zstd::Decoder<'static, BufReader<Prefixed<R>>>),
}

/// What was read to look at it, and then the rest.
pub type Prefixed<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Memory for the window of a zstd stream: 2 to the power of this. The library's own default, stated because
/// the stream may ask for anything.
const ZSTD_WINDOW_LOG: u32 = 27;

impl<R: Read> Decoder<R> {
    pub fn detect(mut input: R) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(4);
        (&mut input).take(4).read_to_end(&mut magic)?;
        let kind = (
            magic.starts_with(&[0x1f, 0x8b]),
            magic == [0x28, 0xb5, 0x2f, 0xfd],
        );
        let input = BufReader::with_capacity(256 * 1024, io::Cursor::new(magic).chain(input));
        Ok(match kind {
            (true, _) => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            (_, true) => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            _ => Self::Plain(input),
        })
    }

    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
        }
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
