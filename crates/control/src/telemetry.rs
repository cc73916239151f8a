//! What is measured and told of sandboxes.
//!
//! ```text
//!  runner ── samples, now and then ──┐
//!  edge ── each call of a toolbox ───┼──> files of bounded size (`alcove-telemetry`)
//!  drivers ── each change of state ──┘
//! ```
//!
//! None of it is in the database, and none of it holds anybody up: calls and changes are noted in memory and written down a
//! little later, by one task that sleeps while there is nothing. What a killed process has not written yet is lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{Sandbox, SandboxId, SandboxState};
use alcove_runner_api::Sample;
use alcove_telemetry::{
    LogRecord, Point, Record, Severity, Span, SpanId, SpanStatus, Telemetry, TraceContext, TraceId,
    Traffic,
};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::Error;
use crate::forward::{self, Told};
use crate::shared::{Shared, lock};

/// How long records wait to be written with others.
const WRITE_AFTER: Duration = Duration::from_secs(1);
/// How often what sandboxes have left behind is removed.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// Longest text of an attribute, in bytes.
const TEXT_MAX_BYTES: usize = 1024;

/// Where telemetry is kept, and how often the runner is asked.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    pub kept: Arc<Telemetry>,
    /// Between two samples. None takes none.
    pub sample_every: Option<Duration>,
}

/// A request that went to the toolbox of a sandbox.
#[derive(Debug, Clone)]
pub struct ToolboxCall {
    pub sandbox: SandboxId,
    pub method: String,
    /// The agent's, without the query.
    pub path: String,
    pub status: u16,
    /// Until the answer began.
    pub took: Duration,
    /// The caller's header of that name.
    pub traceparent: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct TelemetryWork {
    /// Processor time at the last sample.
    last: Mutex<HashMap<SandboxId, (Duration, Timestamp)>>,
    noted: Notify,
}

/// Starts the tasks that take samples, write what was noted and send it on, where telemetry is kept.
pub(crate) fn start(shared: &Arc<Shared>) {
    if let Some(telemetry) = &shared.settings.telemetry {
        shared.spawn(write(Arc::clone(shared)));
        shared.spawn(forward::run(Arc::clone(shared)));
        shared.spawn(sample(Arc::clone(shared), telemetry.sample_every));
    }
}

/// Takes samples, where they are wanted, and removes what is of nobody any more, until the control plane ends.
async fn sample(shared: Arc<Shared>, sample_every: Option<Duration>) {
    let every = sample_every.unwrap_or(SWEEP_EVERY);
    let mut until_sweep = Duration::ZERO;
    loop {
        if until_sweep.is_zero() {
            sweep(&shared).await;
            until_sweep = SWEEP_EVERY;
        }
        shared.clock.sleep(every).await;
        until_sweep = until_sweep.saturating_sub(every);
        if sample_every.is_some() {
            take_samples(&shared).await;
        }
    }
}

/// Asks the runner for one sample of each sandbox and keeps it.
async fn take_samples(shared: &Arc<Shared>) {
    let has_processes = |state| {
        !matches!(
            state,
            SandboxState::Stopped | SandboxState::Archived | SandboxState::Destroyed
        )
    };
    let entries = shared.directory.entries();
    if !entries
        .iter()
        .any(|entry| has_processes(entry.sandbox().state()))
    {
        return;
    }
    let mut samples = Vec::new();
    for host in shared.hosts() {
        match host.client.samples().await {
            Ok(more) => samples.extend(more.into_iter().filter(|sample| {
                let entry = shared.directory.get(&sample.sandbox);
                // Others are steps of builds, what is being removed, and what is not its own.
                entry.is_some_and(|entry| host.holds(&entry.sandbox()))
            })),
            Err(error) => tracing::warn!(%error, "a runner does not say what sandboxes use"),
        }
    }
    let now = shared.clock.now();
    let mut points = Vec::new();
    {
        let mut last = lock(&shared.telemetry.last);
        last.retain(|sandbox, _| samples.iter().any(|sample| sample.sandbox == *sandbox));
        for sample in samples {
            let used = sample.cpu_used.map(|used| (used, now));
            let before = match used {
                Some(used) => last.insert(sample.sandbox.clone(), used),
                None => None,
            };
            points.push((sample.sandbox.clone(), point(&sample, before, now)));
        }
    }
    for (sandbox, point) in &points {
        forward::note(shared, sandbox, || Told::Point(*point));
    }
    keep(shared, "keeping samples", move |kept| {
        for (sandbox, point) in points {
            kept.measure(&sandbox, point)?;
        }
        Ok(())
    })
    .await;
}

fn point(sample: &Sample, before: Option<(Duration, Timestamp)>, now: Timestamp) -> Point {
    let cpu_millis = before
        .zip(sample.cpu_used)
        .and_then(|((before, at), used)| {
            // Less than before is another run of the sandbox, of which nothing is known before now.
            let used = used.checked_sub(before)?;
            let passed = Duration::try_from(now.duration_since(at)).ok()?;
            (!passed.is_zero()).then(|| used.as_secs_f64() / passed.as_secs_f64() * 1000.0)
        });
    Point::new(
        now,
        cpu_millis,
        u64::from(sample.cpu_millis),
        sample.memory_bytes,
        sample.cache_bytes,
        sample.memory_limit_bytes,
        sample.disk.map(|disk| (disk.used_bytes, disk.total_bytes)),
        sample.network.map(|network| Traffic {
            received_bytes: network.received_bytes,
            sent_bytes: network.sent_bytes,
        }),
    )
}

/// Removes what sandboxes have left behind that are not there any more.
async fn sweep(shared: &Arc<Shared>) {
    let directory = Arc::clone(shared);
    keep(shared, "removing old telemetry", move |kept| {
        kept.retain(|sandbox| directory.directory.get(sandbox).is_some())
    })
    .await;
}

/// Writes what was noted, a little after it was, until the control plane ends.
async fn write(shared: Arc<Shared>) {
    loop {
        shared.telemetry.noted.notified().await;
        shared.clock.sleep(WRITE_AFTER).await;
        flush(&shared).await;
    }
}

/// Writes what was noted.
pub(crate) async fn flush(shared: &Shared) {
    keep(shared, "writing telemetry", |kept| {
        let dropped = kept.flush()?;
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "{dropped} records were left out: too many came at once"
            );
        }
        Ok(())
    })
    .await;
}

/// Does something with the files. What fails is told in the log, and lost.
async fn keep(
    shared: &Shared,
    doing: &'static str,
    work: impl FnOnce(&Telemetry) -> Result<(), alcove_telemetry::TelemetryError> + Send + 'static,
) {
    if let Err(error) = with(shared, doing, work).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "{doing} failed");
    }
}

/// Reads or writes the files on a thread that may block.
pub(crate) async fn with<T: Send + 'static>(
    shared: &Shared,
    doing: &'static str,
    work: impl FnOnce(&Telemetry) -> Result<T, alcove_telemetry::TelemetryError> + Send + 'static,
) -> Result<T, Error> {
    let settings = shared.settings.telemetry.as_ref();
    let kept = settings.map(|settings| Arc::clone(&settings.kept));
    let kept = kept.ok_or_else(|| Error::Forbidden {
        message: "This server keeps no telemetry".to_owned(),
    })?;
    let internal = |cause| Error::Internal {
        doing,
        cause: Some(cause),
    };
    let done = tokio::task::spawn_blocking(move || work(&kept)).await;
    done.map_err(|error| internal(error.into()))?
        .map_err(|error| internal(error.into()))
}

fn note(shared: &Shared, sandbox: &SandboxId, record: Record) {
    if shared.settings.telemetry.is_some() {
        forward::note(shared, sandbox, || Told::Record(record.clone()));
    }
    if let Some(settings) = &shared.settings.telemetry
        && settings.kept.note(sandbox.clone(), record)
    {
        shared.telemetry.noted.notify_one();
    }
}

/// Notes that a sandbox is in another state.
pub(crate) fn note_state(shared: &Shared, old: SandboxState, sandbox: &Sandbox) {
    let new = sandbox.state();
    if new == SandboxState::Destroyed {
        // Nobody can ask for it any more.
        return;
    }
    let (severity, body) = match (new, sandbox.error_reason()) {
        (SandboxState::Error | SandboxState::BuildFailed, reason) => {
            let reason = reason.unwrap_or_else(|| "it is not known why".to_owned());
            (Severity::Error, format!("{}: {reason}", new.as_str()))
        }
        // Why it stopped, where nobody asked for it.
        (_, Some(reason)) => (Severity::Warn, format!("{}: {reason}", new.as_str())),
        (_, None) => (Severity::Info, new.as_str().to_owned()),
    };
    let attributes = [
        ("event.name", "sandbox.state"),
        ("sandbox.state", new.as_str()),
        ("sandbox.state.before", old.as_str()),
    ];
    let record = LogRecord {
        at: sandbox.updated_at,
        severity,
        body: cut(&body),
        attributes: texts(attributes),
        trace: None,
        span: None,
    };
    note(shared, &sandbox.id, Record::Log(record));
}

/// Notes a call of a sandbox's toolbox: a span, and a log record where it failed. Called on the hot path.
pub(crate) fn note_call(shared: &Shared, call: &ToolboxCall) {
    if shared.settings.telemetry.is_none() {
        return;
    }
    let context = call.traceparent.as_deref().and_then(TraceContext::parse);
    let (Some(trace), Some(id)) = (
        context
            .map(|context| context.trace)
            .or_else(|| TraceId::new(random(shared))),
        SpanId::new(random(shared)),
    ) else {
        return;
    };
    let now = shared.clock.now();
    let status = call.status.to_string();
    let attributes = texts([
        ("http.request.method", call.method.as_str()),
        ("url.path", &call.path),
        ("http.response.status_code", &status),
    ]);
    let name = cut(&format!("{} {}", call.method, call.path));
    let failed = match call.status {
        500.. => Some(Severity::Error),
        400..=499 => Some(Severity::Warn),
        _ => None,
    };
    let span = Span {
        trace,
        id,
        parent: context.map(|context| context.parent),
        start: now.saturating_sub(call.took).unwrap_or(now),
        took: call.took,
        // What a caller does wrong is no failure of the operation, as OpenTelemetry has it.
        status: match call.status {
            500.. => SpanStatus::Error {
                message: format!("the answer was {status}"),
            },
            _ => SpanStatus::Ok,
        },
        attributes: attributes.clone(),
        name: name.clone(),
    };
    note(shared, &call.sandbox, Record::Span(span));
    if let Some(severity) = failed {
        let record = LogRecord {
            at: now,
            severity,
            body: format!("{name}: the answer was {status}"),
            attributes,
            trace: Some(trace),
            span: Some(id),
        };
        note(shared, &call.sandbox, Record::Log(record));
    }
}

fn random<const N: usize>(shared: &Shared) -> [u8; N] {
    let mut bytes = [0; N];
    shared.rng.fill(&mut bytes);
    bytes
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let texts = pairs.map(|(key, value)| (key.to_owned(), cut(value)));
    texts.into()
}

/// The beginning of a text that somebody else may have made very long.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX_BYTES)].to_owned()
}
