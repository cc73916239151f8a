//! What a command said: records of stream, time and bytes, in files.
//!
//! One writer appends. Readers keep their own place and read the files, so a slow one costs nothing and a late
//! one sees what the others saw. The log is cut into segments; when it outgrows its bound the oldest segment
//! goes, and readers find a note in its place. Before that the writer waits for readers who have not read it yet,
//! as long as they move on. Records do not outlive the agent, so their form has no version.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_agent_api::Stream;
use tokio::sync::watch;

use crate::session::readers::{Place, Readers};

/// Stream, three bytes of nothing, length, nanoseconds of the Unix epoch.
const HEADER_BYTES: usize = 16;

/// Longest payload of a record.
const MAX_RECORD_BYTES: usize = 64 << 10;

/// Segments that a full log has.
const SEGMENTS: u64 = 8;

/// Bytes that a reader takes at a time; holds any record.
const READ_BYTES: usize = 256 << 10;

/// Output in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub stream: Stream,
    pub bytes: Vec<u8>,
}

/// The log of one command.
#[derive(Debug)]
pub struct Log {
    /// Path of the files, without the number at their end.
    base: PathBuf,
    max_bytes: u64,
    inner: Mutex<Inner>,
    /// Bytes ever appended, headers included.
    end: watch::Sender<u64>,
    readers: Readers,
}

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<Segment>,
    writer: Option<File>,
    end: u64,
    /// Payload that could not be written.
    lost_bytes: u64,
}

#[derive(Debug, Clone)]
struct Segment {
    path: PathBuf,
    start: u64,
    length: u64,
}

impl Log {
    pub fn new(base: PathBuf, max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            base,
            max_bytes,
            inner: Mutex::default(),
            end: watch::Sender::new(0),
            readers: Readers::default(),
        })
    }

    /// Waits until so many bytes can be appended without a loss to anyone who reads on.
    pub async fn room(&self, bytes: usize) {
        let records = bytes.div_ceil(MAX_RECORD_BYTES);
        let whole = (bytes + records * HEADER_BYTES) as u64;
        let overflow = self.lock().overflow(whole, self.max_bytes);
        if let Some(end) = overflow {
            self.readers.wait(end).await;
        }
    }

    /// Appends output. What the disk does not take is counted and noted in the log once it takes more.
    pub fn append(&self, stream: Stream, bytes: &[u8]) {
        let mut inner = self.lock();
        let mut is_first = true;
        for piece in bytes.chunks(MAX_RECORD_BYTES) {
            if std::mem::take(&mut is_first) && inner.lost_bytes > 0 {
                let note = format!("\n[... {} bytes of output lost ...]\n", inner.lost_bytes);
                if self
                    .append_record(&mut inner, stream, note.as_bytes())
                    .is_ok()
                {
                    inner.lost_bytes = 0;
                }
            }
            if let Err(error) = self.append_record(&mut inner, stream, piece) {
                if inner.lost_bytes == 0 {
                    crate::log::warn(format_args!("cannot write a session log: {error}"));
                }
                inner.lost_bytes += piece.len() as u64;
            }
        }
        let end = inner.end;
        drop(inner);
        self.end.send_replace(end);
    }

    fn append_record(&self, inner: &mut Inner, stream: Stream, payload: &[u8]) -> io::Result<()> {
        let segment_max = (self.max_bytes / SEGMENTS).max(1);
        let is_full = inner
            .segments
            .back()
            .is_none_or(|last| last.length >= segment_max);
        if is_full {
            self.open_segment(inner)?;
        } else if inner.writer.is_none() {
            let last = inner.segments.back().map(|last| last.path.clone());
            inner.writer = last
                .map(|path| File::options().write(true).open(path))
                .transpose()?;
        }
        let length = (HEADER_BYTES + payload.len()) as u64;
        let record = [header(stream, payload).as_slice(), payload].concat();
        let at = inner.segments.back().map_or(0, |last| last.length);
        // At its place and not at the end: a half-written record is overwritten by the next.
        if let Some(writer) = &inner.writer {
            writer.write_all_at(&record, at)?;
        }
        if let Some(last) = inner.segments.back_mut() {
            last.length += length;
        }
        inner.end += length;
        while inner.segments.len() > 1 && inner.kept_bytes() > self.max_bytes {
            if let Some(oldest) = inner.segments.pop_front() {
                let _ = std::fs::remove_file(oldest.path);
            }
        }
        Ok(())
    }

    fn open_segment(&self, inner: &mut Inner) -> io::Result<()> {
        let mut path = self.base.clone();
        path.as_mut_os_string().push(format!(".{}", inner.end));
        inner.writer = Some(File::options().write(true).create_new(true).open(&path)?);
        let start = inner.end;
        inner.segments.push_back(Segment {
            path,
            start,
            length: 0,
        });
        Ok(())
    }

    /// Closes the file until the next append: an ended command must not hold a descriptor.
    pub fn rest(&self) {
        self.lock().writer = None;
    }

    /// Gives up all that is kept.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.writer = None;
        for segment in inner.segments.drain(..) {
            let _ = std::fs::remove_file(segment.path);
        }
    }

    /// Bytes on disk.
    pub fn kept_bytes(&self) -> u64 {
        self.lock().kept_bytes()
    }

    /// Changes whenever something is appended.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Inner {
    fn kept_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The end of what goes when so many bytes come; none if there is room.
    fn overflow(&self, bytes: u64, max_bytes: u64) -> Option<u64> {
        let mut kept = self.kept_bytes() + bytes;
        let mut end = None;
        for segment in &self.segments {
            if kept <= max_bytes {
                break;
            }
            kept -= segment.length;
            end = Some(segment.start + segment.length);
        }
        end
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tells people when; nothing is decided by it"
)]
fn header(stream: Stream, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    // Pieces are at most `MAX_RECORD_BYTES` long.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    let nanos = jiff::Timestamp::now().as_nanosecond();
    header[8..].copy_from_slice(&u64::try_from(nanos).unwrap_or(0).to_le_bytes());
    header
}

/// A place in a log.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    place: Arc<Place>,
    /// The reader stops here.
    until: Option<u64>,
    open: Option<(u64, File)>,
}

impl LogReader {
    /// From the beginning, to wherever the log grows.
    pub fn follow(log: Arc<Log>) -> Self {
        Self {
            place: log.readers.enter(),
            log,
            until: None,
            open: None,
        }
    }

    /// From the beginning to what is the end now.
    pub fn snapshot(log: Arc<Log>) -> Self {
        let until = Some(*log.end.borrow());
        Self {
            until,
            ..Self::follow(log)
        }
    }

    /// Bytes still to come, as far as is known now.
    pub fn remaining_bytes(&self) -> u64 {
        let end = self.until.unwrap_or_else(|| *self.log.end.borrow());
        end.saturating_sub(self.place.at())
    }

    /// The next records; none when the reader is at the end. Reads from disk.
    ///
    /// # Errors
    /// The files are gone or are not what we wrote.
    pub fn next_records(&mut self) -> io::Result<Vec<Record>> {
        loop {
            let at = self.place.at();
            if self.until.is_some_and(|until| at >= until) {
                return Ok(Vec::new());
            }
            let (first, segment) = {
                let inner = self.log.lock();
                let first = inner
                    .segments
                    .front()
                    .map_or(inner.end, |segment| segment.start);
                let here = |segment: &&Segment| {
                    (segment.start..segment.start + segment.length).contains(&at)
                };
                (first, inner.segments.iter().find(here).cloned())
            };
            if at < first {
                let gap = first - at;
                self.place.move_to(first);
                let note = format!("\n[... {gap} bytes of log dropped ...]\n");
                return Ok(vec![Record {
                    stream: Stream::Stdout,
                    bytes: note.into_bytes(),
                }]);
            }
            let Some(segment) = segment else {
                return Ok(Vec::new());
            };
            if self
                .open
                .as_ref()
                .is_none_or(|(start, _)| *start != segment.start)
            {
                match File::open(&segment.path) {
                    Ok(file) => self.open = Some((segment.start, file)),
                    // Dropped for its age since we looked; the next look finds the gap.
                    Err(_) if self.is_dropped(segment.start) => continue,
                    Err(error) => return Err(error),
                }
            }
            return self.read_from(&segment);
        }
    }

    fn is_dropped(&self, start: u64) -> bool {
        let inner = self.log.lock();
        !inner.segments.iter().any(|segment| segment.start == start)
    }

    fn read_from(&mut self, segment: &Segment) -> io::Result<Vec<Record>> {
        let Some((_, file)) = &self.open else {
            return Ok(Vec::new());
        };
        let at = self.place.at();
        let offset = at - segment.start;
        // A snapshot ends between two records, so the bound never cuts one.
        let left = self.until.map_or(u64::MAX, |until| until - at);
        let wanted = (segment.length - offset).min(READ_BYTES as u64).min(left);
        let mut buffer = vec![0; usize::try_from(wanted).unwrap_or(0)];
        file.read_exact_at(&mut buffer, offset)?;
        let mut records = Vec::new();
        let mut rest = buffer.as_slice();
        while let Some(record) = split_record(rest)? {
            records.push(Record {
                stream: record.stream,
                bytes: record.payload.to_vec(),
            });
            rest = record.after;
        }
        if records.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.place.move_to(at + (buffer.len() - rest.len()) as u64);
        Ok(records)
    }
}

struct RawRecord<'a> {
    stream: Stream,
    payload: &'a [u8],
    after: &'a [u8],
}

/// The first record of `bytes` and what follows it; none if it is not whole.
fn split_record(bytes: &[u8]) -> io::Result<Option<RawRecord<'_>>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let stream = match header[0] {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_RECORD_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(rest
        .split_at_checked(length)
        .map(|(payload, after)| RawRecord {
            stream,
            payload,
            after,
        }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn read_all(reader: &mut LogReader) -> Vec<Record> {
        let mut all = Vec::new();
        loop {
            let records = reader.next_records().unwrap();
            if records.is_empty() {
                return all;
            }
            all.extend(records);
        }
    }

    fn text(records: &[Record]) -> Vec<u8> {
        records
            .iter()
            .flat_map(|record| record.bytes.clone())
            .collect()
    }

    #[test]
    fn a_late_reader_sees_what_an_early_one_saw() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path().join("log"), 1 << 20);
        let mut early = LogReader::follow(log.clone());
        assert_eq!(early.next_records().unwrap(), []);
        log.append(Stream::Stdout, b"one");
        let mut seen = read_all(&mut early);
        log.rest();
        log.append(Stream::Stderr, b"two");
        seen.extend(read_all(&mut early));
        assert_eq!(seen, read_all(&mut LogReader::follow(log)));
        assert_eq!(text(&seen), b"onetwo");
        assert_eq!(seen[1].stream, Stream::Stderr);
    }

    #[test]
    fn a_snapshot_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path().join("log"), 1 << 20);
        log.append(Stream::Stdout, b"one");
        let mut snapshot = LogReader::snapshot(log.clone());
        log.rest();
        log.append(Stream::Stdout, b"two");
        assert_eq!(text(&read_all(&mut snapshot)), b"one");
    }

    #[test]
    fn a_full_log_loses_its_beginning_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path().join("log"), 8 << 10);
        for number in 0..1000 {
            log.append(Stream::Stdout, format!("line {number:04}\n").as_bytes());
        }
        assert!(log.kept_bytes() <= 9 << 10, "{}", log.kept_bytes());
        let all = text(&read_all(&mut LogReader::follow(log.clone())));
        let all = String::from_utf8(all).unwrap();
        assert!(
            all.starts_with("\n[... ") && all.ends_with("line 0999\n"),
            "{all}"
        );
        drop(log);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "files go with the log"
        );
    }

    #[test]
    fn meddled_files_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path().join("log"), 8 << 10);
        log.append(Stream::Stdout, b"text");
        std::fs::write(dir.path().join("log.0"), [9; 20]).unwrap();
        assert!(LogReader::follow(log.clone()).next_records().is_err());
        std::fs::remove_file(dir.path().join("log.0")).unwrap();
        let error = LogReader::follow(log).next_records().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(pieces in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 1..200)), 0..20)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let log = Log::new(dir.path().join("log"), 1 << 20);
            let wanted: Vec<_> = pieces.into_iter().map(|(is_err, bytes)| {
                let stream = if is_err { Stream::Stderr } else { Stream::Stdout };
                log.append(stream, &bytes);
                Record { stream, bytes }
            }).collect();
            prop_assert_eq!(read_all(&mut LogReader::follow(log)), wanted);
        }
    }
}
