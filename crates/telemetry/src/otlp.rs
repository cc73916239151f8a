//! What is told, as requests of the OpenTelemetry protocol (OTLP over HTTP, in protobuf).
//!
//! Only the messages that are sent are here (`wire.rs`), and no client: who sends them, where to and how often is decided
//! elsewhere. See `docs/adr/0048`.

pub mod wire;

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message as _;

use crate::metrics::METRICS;
use crate::point::Point;
use crate::record::{LogRecord, Span, SpanStatus};

/// What bodies of requests are, for the header of that name.
pub const CONTENT_TYPE: &str = "application/x-protobuf";
/// Who made the records.
const SCOPE: &str = "alcove";
/// A span that has it is of a request that was served.
const SERVED: &str = "http.request.method";

/// The three kinds of telemetry, each of which has a path of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    Logs,
    Traces,
    Metrics,
}

impl Signal {
    /// Behind the address of the endpoint.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }
}

/// What is told of one thing, such as a sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// What it is told of.
    pub resource: BTreeMap<String, String>,
    pub logs: Vec<LogRecord>,
    pub spans: Vec<Span>,
    pub points: Vec<Point>,
}

/// The body of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub signal: Signal,
    /// Records, spans or samples in it.
    pub count: u64,
    pub body: Vec<u8>,
}

/// The requests that tell all of it: one for each kind that there is something of.
pub fn exports(batches: &[Batch]) -> Vec<Export> {
    let count = |of: fn(&Batch) -> usize| -> u64 {
        let counts = batches.iter().map(of);
        counts.sum::<usize>() as u64
    };
    let all = [
        (Signal::Logs, count(|batch| batch.logs.len())),
        (Signal::Traces, count(|batch| batch.spans.len())),
        (Signal::Metrics, count(|batch| batch.points.len())),
    ];
    let wanted = all.into_iter().filter(|(_, count)| *count > 0);
    wanted
        .map(|(signal, count)| Export {
            signal,
            count,
            body: match signal {
                Signal::Logs => logs(batches).encode_to_vec(),
                Signal::Traces => traces(batches).encode_to_vec(),
                Signal::Metrics => metrics(batches).encode_to_vec(),
            },
        })
        .collect()
}

/// How many of what was sent the receiver did not want, by the body of its answer. What cannot be read says nothing.
pub fn rejected(answer: &[u8]) -> u64 {
    let answer = wire::Answer::decode(answer).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0))
}

fn logs(batches: &[Batch]) -> wire::LogsRequest {
    let told = batches.iter().filter(|batch| !batch.logs.is_empty());
    wire::LogsRequest {
        resource_logs: told
            .map(|batch| wire::ResourceLogs {
                resource: Some(resource(batch)),
                scope_logs: vec![wire::ScopeLogs {
                    scope: Some(scope()),
                    log_records: batch.logs.iter().map(log).collect(),
                }],
            })
            .collect(),
    }
}

fn log(log: &LogRecord) -> wire::LogRecord {
    wire::LogRecord {
        time_unix_nano: nanoseconds(log.at),
        observed_time_unix_nano: nanoseconds(log.at),
        severity_number: log.severity.number().into(),
        severity_text: log.severity.as_str().to_owned(),
        body: Some(text(&log.body)),
        attributes: attributes(&log.attributes),
        trace_id: log
            .trace
            .map(|id| id.as_bytes().to_vec())
            .unwrap_or_default(),
        span_id: log
            .span
            .map(|id| id.as_bytes().to_vec())
            .unwrap_or_default(),
    }
}

fn traces(batches: &[Batch]) -> wire::TracesRequest {
    let told = batches.iter().filter(|batch| !batch.spans.is_empty());
    wire::TracesRequest {
        resource_spans: told
            .map(|batch| wire::ResourceSpans {
                resource: Some(resource(batch)),
                scope_spans: vec![wire::ScopeSpans {
                    scope: Some(scope()),
                    spans: batch.spans.iter().map(span).collect(),
                }],
            })
            .collect(),
    }
}

fn span(span: &Span) -> wire::Span {
    let kind = if span.attributes.contains_key(SERVED) {
        wire::SpanKind::Server
    } else {
        wire::SpanKind::Internal
    };
    // What went well is left unset: saying that it did is the receiver's affair, as OpenTelemetry has it.
    let status = match &span.status {
        SpanStatus::Ok => None,
        SpanStatus::Error { message } => Some(wire::Status {
            message: message.clone(),
            code: wire::StatusCode::Error.into(),
        }),
    };
    wire::Span {
        trace_id: span.trace.as_bytes().to_vec(),
        span_id: span.id.as_bytes().to_vec(),
        parent_span_id: span
            .parent
            .map(|id| id.as_bytes().to_vec())
            .unwrap_or_default(),
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.start),
        end_time_unix_nano: nanoseconds(span.end()),
        attributes: attributes(&span.attributes),
        status,
    }
}

fn metrics(batches: &[Batch]) -> wire::MetricsRequest {
    let told = batches.iter().filter(|batch| !batch.points.is_empty());
    wire::MetricsRequest {
        resource_metrics: told
            .map(|batch| wire::ResourceMetrics {
                resource: Some(resource(batch)),
                scope_metrics: vec![wire::ScopeMetrics {
                    scope: Some(scope()),
                    metrics: series(&batch.points),
                }],
            })
            .collect(),
    }
}

/// Those that there is a value of.
fn series(points: &[Point]) -> Vec<wire::Metric> {
    let series = METRICS.iter().filter_map(|metric| {
        let data_points = points.iter().filter_map(|point| {
            Some(wire::NumberDataPoint {
                time_unix_nano: nanoseconds(point.at),
                as_double: Some((metric.value)(point)?),
            })
        });
        let data_points: Vec<_> = data_points.collect();
        if data_points.is_empty() {
            return None;
        }
        let data = if metric.is_total {
            wire::Data::Sum(wire::Sum {
                data_points,
                aggregation_temporality: wire::Temporality::Cumulative.into(),
                is_monotonic: true,
            })
        } else {
            wire::Data::Gauge(wire::Gauge { data_points })
        };
        Some(wire::Metric {
            name: metric.name.to_owned(),
            unit: metric.unit.to_owned(),
            data: Some(data),
        })
    });
    series.collect()
}

fn resource(batch: &Batch) -> wire::Resource {
    wire::Resource {
        attributes: attributes(&batch.resource),
    }
}

fn scope() -> wire::Scope {
    wire::Scope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn attributes(attributes: &BTreeMap<String, String>) -> Vec<wire::KeyValue> {
    let attributes = attributes.iter().map(|(key, value)| wire::KeyValue {
        key: key.clone(),
        value: Some(text(value)),
    });
    attributes.collect()
}

fn text(text: &str) -> wire::AnyValue {
    wire::AnyValue {
        value: Some(wire::Value::Text(text.to_owned())),
    }
}

/// Since 1970; zero before.
fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::Duration;

    use super::*;
    use crate::{Severity, SpanId, TraceId, Traffic};

    /// A sandbox of which something of each kind is told.
    fn batch() -> Batch {
        let at = Timestamp::from_nanosecond(1_700_000_000_123_456_789).unwrap();
        let (trace, span) = (TraceId::new([1; 16]), SpanId::new([2; 8]));
        let texts = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        Batch {
            resource: texts(&[("service.name", "sandbox-1")]),
            logs: vec![LogRecord {
                at,
                severity: Severity::Warn,
                body: "stopped: \u{e4}".to_owned(),
                attributes: texts(&[("sandbox.state", "stopped")]),
                trace,
                span,
            }],
            spans: vec![Span {
                trace: trace.unwrap(),
                id: span.unwrap(),
                parent: SpanId::new([3; 8]),
                name: "GET /files".to_owned(),
                start: at,
                took: Duration::from_millis(5),
                attributes: texts(&[("http.request.method", "GET")]),
                status: SpanStatus::Error {
                    message: "the answer was 500".to_owned(),
                },
            }],
            points: vec![Point::new(
                at,
                Some(500.0),
                1000,
                7,
                3,
                10,
                None,
                Some(Traffic {
                    received_bytes: 11,
                    sent_bytes: 12,
                }),
            )],
        }
    }

    /// The same records, as `opentelemetry-proto` 0.33 writes them.
    const KNOWN: [(Signal, &str); 3] = [
        (Signal::Logs, include_str!("otlp/logs.hex")),
        (Signal::Traces, include_str!("otlp/traces.hex")),
        (Signal::Metrics, include_str!("otlp/metrics.hex")),
    ];

    #[test]
    fn the_bytes_are_those_that_the_libraries_of_opentelemetry_write() {
        let exports = exports(&[Batch::default(), batch()]);
        assert_eq!(exports.len(), KNOWN.len());
        for (export, (signal, known)) in exports.iter().zip(KNOWN) {
            assert_eq!((export.signal, export.count), (signal, 1));
            assert_eq!(hex::encode(&export.body), known.trim(), "{signal:?}");
        }
    }

    #[test]
    fn nothing_is_sent_of_what_there_is_nothing_of() {
        assert_eq!(exports(&[Batch::default()]), []);
        let mut logs = batch();
        logs.spans.clear();
        logs.points.clear();
        let [export] = exports(&[logs]).try_into().unwrap();
        assert_eq!(export.signal, Signal::Logs);
    }

    #[test]
    fn what_a_receiver_did_not_want_is_read_from_its_answer() {
        assert_eq!(rejected(&[]), 0);
        assert_eq!(rejected(b"<html>"), 0);
        let answer = wire::Answer {
            partial_success: Some(wire::PartialSuccess {
                rejected: 3,
                error_message: "too old".to_owned(),
            }),
        };
        assert_eq!(rejected(&answer.encode_to_vec()), 3);
    }
}
