//! What is measured and told of sandboxes, kept in files of bounded size.
//!
//! One folder a sandbox: a ring of samples at three resolutions ([`Point`], `series.rs`), and what it and its toolbox were
//! heard of, log records and spans ([`LogRecord`], [`Span`], `records.rs`). All of it may be lost without harm: nothing is
//! synced, and whatever cannot be read is left out. Why it is not in the database stands in `docs/adr/0041`.
//!
//! Everything here blocks for as long as a few small reads and writes of files take.

mod folder;
mod metrics;
pub mod otlp;
mod point;
mod record;
mod records;
mod series;
mod trace;

pub use folder::{Record, Telemetry, TelemetryError};
pub use metrics::{METRICS, Metric};
pub use point::{Disk, Point, Traffic};
pub use record::{LogRecord, Severity, Span, SpanStatus};
pub use trace::{SpanId, TraceContext, TraceId};
