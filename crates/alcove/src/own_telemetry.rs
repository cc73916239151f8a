//! The server's own traces and log, as OTLP, where the operator wants them elsewhere.
//!
//! A layer of the log turns spans of the target `alcove_trace` and every line that is logged into records, which wait in a bounded
//! queue; one task sends them. Without an endpoint there is no layer, and then nobody makes those spans.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alcove_control::{Clock as _, OtlpOutcome, OtlpRequest, OtlpSender, SystemClock};
use alcove_domain::OtelRequest;
use alcove_server::Otlp;
use alcove_telemetry::otlp::{Batch, exports};
use alcove_telemetry::{
    LogRecord, Record, Severity, Span as TelemetrySpan, SpanId, SpanStatus, TraceContext, TraceId,
};
use anyhow::{Context as _, bail};
use http::Uri;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Whose spans are sent. No line of the log has it.
pub const TARGET: &str = "alcove_trace";
/// Records that may wait.
const WAITING_MAX: usize = 8192;
/// Records that are sent at once.
const BATCH_MAX: usize = 512;
/// How long what is told waits for more.
const GATHER: Duration = Duration::from_secs(2);
/// Waits before each further try of a batch.
const GAPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// What is left when the server stops is sent within this, or not at all.
const LAST: Duration = Duration::from_secs(3);
/// Attributes of one record.
const ATTRIBUTES_MAX: usize = 32;
/// Longest text of an attribute, in bytes.
const TEXT_MAX_BYTES: usize = 1024;
/// Longest line of the log, in bytes.
const BODY_MAX_BYTES: usize = 8 << 10;

#[derive(Debug, clap::Args)]
pub struct OwnTelemetryArguments {
    /// Where the server's own traces and log are sent: an endpoint of OTLP over HTTP, such as http://127.0.0.1:4318. Without it
    /// they are sent nowhere.
    #[arg(long, env = "ALCOVE_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// A file of headers that are sent along, one a line, as NAME: VALUE.
    #[arg(
        long,
        env = "ALCOVE_OTLP_HEADERS_FILE",
        value_name = "FILE",
        requires = "otlp_endpoint"
    )]
    otlp_headers: Option<PathBuf>,
}

impl OwnTelemetryArguments {
    /// The way out. None where the operator wants none.
    pub fn open(&self) -> anyhow::Result<Option<Exporting>> {
        let Some(endpoint) = &self.otlp_endpoint else {
            return Ok(None);
        };
        let headers = match &self.otlp_headers {
            None => BTreeMap::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                headers(&text).with_context(|| format!("in {}", path.display()))?
            }
        };
        let request = OtelRequest {
            endpoint: endpoint.clone(),
            headers,
        };
        // It is the operator's own: it may be anywhere.
        let target = request.check(None, |_| true).map_err(|reasons| {
            let reasons: Vec<String> = reasons.into_iter().map(|it| it.message).collect();
            anyhow::anyhow!("--otlp-endpoint: {}", reasons.join(", "))
        })?;
        let uri: Uri = target.endpoint.parse()?;
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let sender = Otlp::new(&[host.to_owned()]).context("cannot send telemetry")?;
        Ok(Some(Exporting {
            endpoint: target.endpoint,
            headers: target.headers,
            sender: Arc::new(sender),
            waiting: Arc::default(),
        }))
    }
}

fn headers(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            bail!("a line is not NAME: VALUE");
        };
        headers.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(headers)
}

/// What waits to be sent.
#[derive(Debug, Default)]
struct Waiting {
    records: Mutex<VecDeque<Record>>,
    dropped: AtomicU64,
}

impl Waiting {
    fn push(&self, record: Record) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= WAITING_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            records.push_back(record);
        }
    }

    fn take(&self) -> Vec<Record> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let count = records.len().min(BATCH_MAX);
        records.drain(..count).collect()
    }
}

/// The way out of the server's own traces and log.
#[derive(Clone)]
pub struct Exporting {
    endpoint: String,
    headers: BTreeMap<String, String>,
    sender: Arc<dyn OtlpSender>,
    waiting: Arc<Waiting>,
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporting")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Exporting {
    /// What notes spans and lines of the log.
    pub fn layer(&self) -> OwnLayer {
        OwnLayer {
            waiting: Arc::clone(&self.waiting),
            clock: SystemClock::default(),
        }
    }

    /// Sends what waits until the server stops, and then once more.
    pub async fn run(self, shutdown: CancellationToken) {
        let resource = resource();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = shutdown.cancelled() => break,
            }
            self.send_all(&resource, &GAPS).await;
        }
        let last = self.send_all(&resource, &[]);
        let _ = tokio::time::timeout(LAST, last).await;
    }

    async fn send_all(&self, resource: &BTreeMap<String, String>, gaps: &[Duration]) {
        loop {
            let mut batch = Batch {
                resource: resource.clone(),
                ..Batch::default()
            };
            for record in self.waiting.take() {
                match record {
                    Record::Log(log) => batch.logs.push(log),
                    Record::Span(span) => batch.spans.push(span),
                }
            }
            let exports = exports(&[batch]);
            if exports.is_empty() {
                return;
            }
            for export in exports {
                let request = OtlpRequest {
                    url: format!("{}{}", self.endpoint, export.signal.path()),
                    headers: self.headers.clone(),
                    body: export.body,
                };
                if let Err(reason) = self.send(request, gaps).await {
                    self.waiting
                        .dropped
                        .fetch_add(export.count, Ordering::Relaxed);
                    // Not to itself: a receiver that is away would be told of each time at which it was.
                    eprintln!(
                        "alcove: {} records of telemetry were not taken by {}: {reason} ({} since the start)",
                        export.count,
                        self.endpoint,
                        self.waiting.dropped.load(Ordering::Relaxed)
                    );
                }
            }
        }
    }

    async fn send(&self, request: OtlpRequest, gaps: &[Duration]) -> Result<(), String> {
        let mut gaps = gaps.iter();
        loop {
            match self.sender.send(request.clone()).await {
                OtlpOutcome::Taken { .. } => return Ok(()),
                OtlpOutcome::Refused { reason } => return Err(reason),
                OtlpOutcome::Failed { reason, .. } => match gaps.next() {
                    Some(gap) => tokio::time::sleep(*gap).await,
                    None => return Err(reason),
                },
            }
        }
    }
}

/// What all of it is told of.
fn resource() -> BTreeMap<String, String> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    [
        ("service.name", "alcove".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", hex::encode(random::<16>())),
        ("host.name", host),
        ("process.pid", std::process::id().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn random<const N: usize>() -> [u8; N] {
    use alcove_control::Rng as _;
    let mut bytes = [0; N];
    alcove_control::SystemRng.fill(&mut bytes);
    bytes
}

/// Notes spans of ours and lines of the log.
#[derive(Debug)]
pub struct OwnLayer {
    waiting: Arc<Waiting>,
    clock: SystemClock,
}

/// A span that is not over.
#[derive(Debug)]
struct Open {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    start: Timestamp,
    fields: Fields,
}

/// What a span or a line of the log says.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    attributes: BTreeMap<String, String>,
}

impl Fields {
    fn put(&mut self, name: &str, value: String) {
        if name == "message" {
            self.message = cut(value, BODY_MAX_BYTES);
        } else if self.attributes.len() < ATTRIBUTES_MAX || self.attributes.contains_key(name) {
            self.attributes
                .insert(name.to_owned(), cut(value, TEXT_MAX_BYTES));
        }
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.put(field.name(), text);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for OwnLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        // What the caller says of its own trace is where this one goes on.
        let theirs = fields.attributes.remove("traceparent");
        let theirs = theirs.as_deref().and_then(TraceContext::parse);
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            let open = extensions.get::<Open>()?;
            Some((open.trace, open.id))
        });
        let above = above.or_else(|| theirs.map(|theirs| (theirs.trace, theirs.parent)));
        let (trace, parent) = above.unzip();
        let (Some(trace), Some(id)) = (
            trace.or_else(|| TraceId::new(random())),
            SpanId::new(random()),
        ) else {
            return;
        };
        span.extensions_mut().insert(Open {
            trace,
            id,
            parent,
            start: self.clock.now(),
            fields,
        });
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(open) = span.extensions_mut().remove::<Open>() else {
            return;
        };
        let took = self.clock.now().duration_since(open.start);
        let mut attributes = open.fields.attributes;
        let name = match (
            attributes.get("http.request.method"),
            attributes.get("http.route"),
        ) {
            (Some(method), Some(route)) => format!("{method} {route}"),
            (Some(method), None) => method.clone(),
            (None, _) => span.name().to_owned(),
        };
        let status = match attributes.remove("error") {
            Some(message) => SpanStatus::Error { message },
            None => SpanStatus::Ok,
        };
        self.waiting.push(Record::Span(TelemetrySpan {
            trace: open.trace,
            id: open.id,
            parent: open.parent,
            name,
            start: open.start,
            took: took.try_into().unwrap_or_default(),
            attributes,
            status,
        }));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        fields.put("code.namespace", metadata.target().to_owned());
        let span = context.event_span(event);
        let within = span.and_then(|span| {
            let extensions = span.extensions();
            let open = extensions.get::<Open>()?;
            Some((open.trace, open.id))
        });
        let (trace, span) = within.unzip();
        self.waiting.push(Record::Log(LogRecord {
            at: self.clock.now(),
            severity: match *metadata.level() {
                Level::ERROR => Severity::Error,
                Level::WARN => Severity::Warn,
                Level::INFO => Severity::Info,
                Level::DEBUG | Level::TRACE => Severity::Debug,
            },
            body: fields.message,
            attributes: fields.attributes,
            trace,
            span,
        }));
    }
}

#[cfg(test)]
mod tests;
