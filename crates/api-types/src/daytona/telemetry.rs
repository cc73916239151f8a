//! What is measured and told of a sandbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// Series of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsResponse {
    pub series: Vec<MetricSeries>,
}

/// One number over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricSeries {
    pub metric_name: String,
    /// In the order of their times.
    pub data_points: Vec<MetricDataPoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricDataPoint {
    pub timestamp: Timestamp,
    pub value: f64,
}

/// A page of log records, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaginatedLogs)]
pub struct LogPage {
    pub items: Vec<LogEntry>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    pub timestamp: Timestamp,
    pub body: String,
    /// `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub severity_text: String,
    /// As OpenTelemetry counts.
    pub severity_number: u8,
    /// `sandbox-` and the sandbox's id.
    pub service_name: String,
    pub resource_attributes: BTreeMap<String, String>,
    pub log_attributes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

/// A page of traces, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaginatedTraces)]
pub struct TracePage {
    pub items: Vec<TraceSummary>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// What there is of one trace, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceSummary {
    pub trace_id: String,
    pub root_span_name: String,
    pub start_time: Timestamp,
    pub end_time: Timestamp,
    pub duration_ms: f64,
    pub span_count: u64,
    /// `Ok`, or `Error` if one of its spans failed.
    pub status_code: String,
}

/// An operation that took time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceSpan {
    pub trace_id: String,
    pub span_id: String,
    /// May be the caller's own, of which nothing is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    pub span_name: String,
    /// When it began.
    pub timestamp: Timestamp,
    pub duration_ns: u64,
    pub span_attributes: BTreeMap<String, String>,
    /// `Ok` or `Error`.
    pub status_code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
}
