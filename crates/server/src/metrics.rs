//! What the server tells monitoring of itself, in the text form of Prometheus.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alcove_control::Statistics;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};

use crate::app::App;

/// The form that is spoken.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper ends of the classes of durations, in milliseconds: the usual ones of Prometheus's libraries.
const BUCKETS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
/// Bytes of a page of memory on the machines that this is built for.
const PAGE_BYTES: u64 = 4096;

/// Requests since the start, from outside. What goes to ports of sandboxes is not among them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: AtomicU64,
    /// By the first digit of the status, from 1 on.
    ended: [AtomicU64; 5],
    buckets: [AtomicU64; BUCKETS_MS.len()],
    microseconds: AtomicU64,
}

impl Requests {
    pub fn begin(&self) -> Instant {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Instant::now()
    }

    /// An answer has begun; how long its body takes is its reader's affair.
    pub fn end(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, self.ended.len());
        self.ended[class - 1].fetch_add(1, Ordering::Relaxed);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_MS.iter().position(|end| milliseconds < *end) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn write(&self, text: &mut Text) {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        text.head(
            "alcove_http_requests_total",
            "counter",
            "Requests that were answered",
        );
        let mut all = 0;
        for (class, number) in (1..).zip(&self.ended) {
            all += count(number);
            text.line(
                &format!("alcove_http_requests_total{{status=\"{class}xx\"}}"),
                count(number),
            );
        }
        text.head(
            "alcove_http_requests_open",
            "gauge",
            "Requests that are not answered yet",
        );
        text.line(
            "alcove_http_requests_open",
            count(&self.begun).saturating_sub(all),
        );
        let name = "alcove_http_request_duration_seconds";
        text.head(name, "histogram", "Time until the answer begins");
        let mut below = 0;
        for (end, number) in BUCKETS_MS.iter().zip(&self.buckets) {
            below += count(number);
            text.line(
                &format!("{name}_bucket{{le=\"{}\"}}", seconds(end * 1000)),
                below,
            );
        }
        text.line(&format!("{name}_bucket{{le=\"+Inf\"}}"), all);
        text.line(&format!("{name}_sum"), seconds(count(&self.microseconds)));
        text.line(&format!("{name}_count"), all);
    }
}

/// Microseconds as decimal seconds, without rounding.
fn seconds(microseconds: u64) -> String {
    let (whole, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }
}

/// Everything, as it is now.
fn text(app: &App, statistics: &Statistics) -> String {
    let mut text = Text::default();
    text.head("alcove_build_info", "gauge", "The version of the server");
    let version = env!("CARGO_PKG_VERSION");
    text.line(&format!("alcove_build_info{{version=\"{version}\"}}"), 1);
    text.head(
        "alcove_component_up",
        "gauge",
        "Whether a part of the server works",
    );
    for (name, is_up) in [
        ("database", statistics.readiness.store),
        ("runner", statistics.readiness.runner),
    ] {
        text.line(
            &format!("alcove_component_up{{component=\"{name}\"}}"),
            u8::from(is_up),
        );
    }
    text.head("alcove_sandboxes", "gauge", "Sandboxes by state");
    for (state, count) in &statistics.sandboxes {
        text.line(&format!("alcove_sandboxes{{state=\"{state}\"}}"), count);
    }
    text.head(
        "alcove_webhook_queues",
        "gauge",
        "Endpoints of webhooks that something waits for",
    );
    text.line("alcove_webhook_queues", statistics.webhook_queues);
    let forwarding = statistics.forwarding;
    for (name, kind, help, value) in [
        (
            "alcove_otlp_queues",
            "gauge",
            "Organizations that telemetry waits to be sent for",
            forwarding.queues as u64,
        ),
        (
            "alcove_otlp_sent_total",
            "counter",
            "Records, spans and samples that endpoints of organizations took",
            forwarding.sent,
        ),
        (
            "alcove_otlp_dropped_total",
            "counter",
            "Those that did not fit into a queue, or that no endpoint took",
            forwarding.dropped,
        ),
    ] {
        text.head(name, kind, help);
        text.line(name, value);
    }
    app.requests().write(&mut text);
    if let Some(pages) = resident_pages() {
        let name = "process_resident_memory_bytes";
        text.head(name, "gauge", "Memory of the server itself");
        text.line(name, pages * PAGE_BYTES);
    }
    text.0
}

/// The second number that the kernel tells of a process's memory.
fn resident_pages() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/self/statm").ok()?;
    told.split_whitespace().nth(1)?.parse().ok()
}

pub(crate) fn answer(app: &App, statistics: &Statistics) -> Response {
    ([(CONTENT_TYPE, TEXT)], text(app, statistics)).into_response()
}

impl App {
    /// What a listener of its own answers with: `GET /metrics`, without a key.
    pub fn metrics(
        &self,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static {
        let app = self.clone();
        service_fn(move |request: Request<Incoming>| {
            let app = app.clone();
            async move {
                let is_asked = request.uri().path() == "/metrics";
                Ok(match *request.method() {
                    Method::GET | Method::HEAD if is_asked => {
                        answer(&app, &app.control().statistics().await)
                    }
                    _ => StatusCode::NOT_FOUND.into_response(),
                })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_duration() {
        let requests = Requests::default();
        for (status, milliseconds) in [(200, 3), (204, 30), (404, 30), (500, 60_000)] {
            requests.begin();
            let status = StatusCode::from_u16(status).expect("a status");
            requests.end(status, Duration::from_millis(milliseconds));
        }
        requests.begin();
        let mut text = Text::default();
        requests.write(&mut text);
        for line in [
            "alcove_http_requests_total{status=\"2xx\"} 2",
            "alcove_http_requests_total{status=\"5xx\"} 1",
            "alcove_http_requests_open 1",
            "alcove_http_request_duration_seconds_bucket{le=\"0.005\"} 1",
            "alcove_http_request_duration_seconds_bucket{le=\"0.05\"} 3",
            "alcove_http_request_duration_seconds_bucket{le=\"10\"} 3",
            "alcove_http_request_duration_seconds_bucket{le=\"+Inf\"} 4",
            "alcove_http_request_duration_seconds_sum 60.063",
            "alcove_http_request_duration_seconds_count 4",
        ] {
            assert!(text.0.lines().any(|it| it == line), "{line} in {}", text.0);
        }
    }
}
