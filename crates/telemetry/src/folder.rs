//! The folder of all sandboxes' telemetry.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alcove_domain::SandboxId;
use jiff::{SignedDuration, Timestamp};

use crate::point::Point;
use crate::record::{LogRecord, Span};
use crate::records::Records;
use crate::series::Series;

/// Records that may wait for [`Telemetry::flush`]. What comes while so many wait is counted and left out.
const WAITING_MAX: usize = 16 << 10;
/// Log records and spans that are older are not told any more.
const RECORD_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

const SERIES: &str = "series";
const LOGS: &str = "logs";
const SPANS: &str = "spans";

#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct TelemetryError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// One thing that is told of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Log(LogRecord),
    Span(Span),
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<(SandboxId, Record)>,
    dropped: u64,
}

/// Keeps what is measured and told. One process writes.
#[derive(Debug)]
pub struct Telemetry {
    folder: PathBuf,
    waiting: Mutex<Waiting>,
    /// Held while files are written, so that two flushes do not cross.
    writing: Mutex<()>,
}

impl Telemetry {
    pub fn open(folder: PathBuf) -> Result<Self, TelemetryError> {
        let failed = failed("make the folder", &folder);
        fs::create_dir_all(&folder).map_err(&failed)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(&failed)?;
        Ok(Self {
            folder,
            waiting: Mutex::default(),
            writing: Mutex::default(),
        })
    }

    /// Takes a sample in.
    pub fn measure(&self, sandbox: &SandboxId, sample: Point) -> Result<(), TelemetryError> {
        let _writing = lock(&self.writing);
        let path = self.of(sandbox)?.join(SERIES);
        let added = Series::create(&path).and_then(|series| series.add(sample));
        added.map_err(failed("write", &path))
    }

    /// Samples from one time to another, both included, finer the younger they are.
    pub fn points(
        &self,
        sandbox: &SandboxId,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Point>, TelemetryError> {
        let path = self.path(sandbox).join(SERIES);
        let series = Series::open(&path).map_err(failed("open", &path))?;
        let Some(series) = series else {
            return Ok(Vec::new());
        };
        series.read(from, to, now).map_err(failed("read", &path))
    }

    /// Notes something that is told of a sandbox, in memory only. Whether it is the first that waits to be written.
    pub fn note(&self, sandbox: SandboxId, record: Record) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.records.len() >= WAITING_MAX {
            waiting.dropped += 1;
            return false;
        }
        waiting.records.push((sandbox, record));
        waiting.records.len() == 1
    }

    /// Writes what was noted. How much was left out since the last time, because too much waited.
    pub fn flush(&self) -> Result<u64, TelemetryError> {
        let _writing = lock(&self.writing);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        let mut by_sandbox: BTreeMap<SandboxId, (Vec<LogRecord>, Vec<Span>)> = BTreeMap::new();
        for (sandbox, record) in waiting.records {
            let (logs, spans) = by_sandbox.entry(sandbox).or_default();
            match record {
                Record::Log(log) => logs.push(log),
                Record::Span(span) => spans.push(span),
            }
        }
        for (sandbox, (logs, spans)) in by_sandbox {
            let folder = self.of(&sandbox)?;
            let write = |kind| failed("write", &folder.join(kind));
            Records::new(&folder, LOGS)
                .append(&logs)
                .map_err(write(LOGS))?;
            Records::new(&folder, SPANS)
                .append(&spans)
                .map_err(write(SPANS))?;
        }
        Ok(waiting.dropped)
    }

    /// Log records of a sandbox, the newest first. What was noted and not flushed yet is not among them.
    pub fn logs(
        &self,
        sandbox: &SandboxId,
        now: Timestamp,
    ) -> Result<Vec<LogRecord>, TelemetryError> {
        let mut logs: Vec<LogRecord> = self.records(sandbox, LOGS)?;
        logs.retain(|log| now.duration_since(log.at) < RECORD_AGE);
        logs.sort_by_key(|log| std::cmp::Reverse(log.at));
        Ok(logs)
    }

    /// Spans of a sandbox by trace, each in the order of their starts. What was noted and not flushed yet is not among
    /// them.
    pub fn traces(
        &self,
        sandbox: &SandboxId,
        now: Timestamp,
    ) -> Result<Vec<Vec<Span>>, TelemetryError> {
        let spans: Vec<Span> = self.records(sandbox, SPANS)?;
        let mut traces: HashMap<_, Vec<Span>> = HashMap::new();
        for span in spans {
            if now.duration_since(span.start) < RECORD_AGE {
                traces.entry(span.trace).or_default().push(span);
            }
        }
        let mut traces: Vec<Vec<Span>> = traces.into_values().collect();
        for spans in &mut traces {
            spans.sort_by_key(|span| (span.start, span.id));
        }
        Ok(traces)
    }

    fn records<T: serde::de::DeserializeOwned>(
        &self,
        sandbox: &SandboxId,
        kind: &str,
    ) -> Result<Vec<T>, TelemetryError> {
        let folder = self.path(sandbox);
        let records = Records::new(&folder, kind).read();
        records.map_err(failed("read", &folder.join(kind)))
    }

    /// Forgets what there is of sandboxes that are not there any more.
    pub fn retain(&self, is_there: impl Fn(&SandboxId) -> bool) -> Result<(), TelemetryError> {
        let _writing = lock(&self.writing);
        let entries = fs::read_dir(&self.folder).map_err(failed("list", &self.folder))?;
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.folder))?;
            let name = entry.file_name();
            let sandbox = name.to_str().and_then(|name| name.parse().ok());
            if sandbox.is_some_and(|sandbox| is_there(&sandbox)) {
                continue;
            }
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.folder.join(sandbox.as_str())
    }

    /// The folder of one sandbox, made if it is not there.
    fn of(&self, sandbox: &SandboxId) -> Result<PathBuf, TelemetryError> {
        let path = self.path(sandbox);
        match fs::create_dir(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            Err(error) => Err(failed("make the folder", &path)(error)),
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> TelemetryError + use<> {
    let path = path.to_owned();
    move |source| TelemetryError {
        doing,
        path: path.clone(),
        source,
    }
}

/// What is behind these locks is never half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::Duration;

    use super::*;
    use crate::record::{Severity, SpanStatus};

    fn id(text: &str) -> SandboxId {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn log(second: i64, body: &str) -> Record {
        Record::Log(LogRecord {
            at: at(second),
            severity: Severity::Info,
            body: body.to_owned(),
            attributes: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            trace: None,
            span: None,
        })
    }

    fn span(trace: u8, own: u8, second: i64) -> Record {
        let mut bytes = [0; 16];
        bytes[0] = trace;
        Record::Span(Span {
            trace: crate::TraceId::new(bytes).unwrap(),
            id: crate::SpanId::new([own; 8]).unwrap(),
            parent: None,
            name: "GET /x".to_owned(),
            start: at(second),
            took: Duration::from_millis(5),
            attributes: BTreeMap::new(),
            status: SpanStatus::Ok,
        })
    }

    #[test]
    fn records_are_those_of_their_sandbox_and_end_with_their_age() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::open(folder.path().join("telemetry")).unwrap();
        assert!(telemetry.note(id("a"), log(1, "one")), "the first");
        assert!(!telemetry.note(id("a"), log(2, "two")));
        telemetry.note(id("b"), log(3, "three"));
        telemetry.note(id("a"), span(1, 2, 2));
        telemetry.note(id("a"), span(1, 1, 1));
        assert_eq!(telemetry.logs(&id("a"), at(9)).unwrap(), []);
        assert_eq!(telemetry.flush().unwrap(), 0);
        let told = |sandbox: &str, now| -> Vec<String> {
            let logs = telemetry.logs(&id(sandbox), now).unwrap();
            logs.into_iter().map(|log| log.body).collect()
        };
        assert_eq!(told("a", at(9)), ["two", "one"]);
        assert_eq!(told("b", at(9)), ["three"]);
        assert_eq!(told("a", at(7 * 86_400 + 1)), ["two"]);
        let traces = telemetry.traces(&id("a"), at(9)).unwrap();
        let [trace] = traces.as_slice() else {
            panic!("{traces:?}");
        };
        assert_eq!(trace.len(), 2);
        assert!(trace[0].start < trace[1].start);
        assert_eq!(telemetry.traces(&id("b"), at(9)).unwrap().len(), 0);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::open(folder.path().to_owned()).unwrap();
        for _ in 0..WAITING_MAX + 3 {
            telemetry.note(id("a"), log(1, "x"));
        }
        assert_eq!(telemetry.flush().unwrap(), 3);
        assert_eq!(telemetry.flush().unwrap(), 0);
    }

    #[test]
    fn what_is_of_no_sandbox_goes() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::open(folder.path().to_owned()).unwrap();
        for sandbox in ["a", "b"] {
            let sample = Point::new(at(0), None, 1, 1, 1, 1, None, None);
            telemetry.measure(&id(sandbox), sample).unwrap();
        }
        telemetry.retain(|sandbox| sandbox.as_str() == "b").unwrap();
        let count = |sandbox: &str| {
            let points = telemetry.points(&id(sandbox), at(0), at(0), at(0));
            points.unwrap().len()
        };
        assert_eq!((count("a"), count("b")), (0, 1));
    }
}
