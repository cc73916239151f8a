//! What is measured and told of a sandbox.

use std::collections::BTreeMap;

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    LogEntry, LogPage, MetricDataPoint, MetricSeries, MetricsResponse, TracePage, TraceSpan,
    TraceSummary,
};
use alcove_control::{ListLogs, TelemetryRange, TraceSummary as Summary};
use alcove_telemetry::{LogRecord, METRICS, Metric, Point, Severity, Span, SpanStatus};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};
use crate::query::Query;

/// What a sandbox used, as the host counts it: processors, memory, disk and network. Points are closer together the younger
/// they are; there are none of times at which the sandbox was stopped.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/telemetry/metrics", tag = "sandbox",
    operation_id = "getSandboxMetrics",
    params(("sandboxIdOrName" = String, Path), ("from" = String, Query), ("to" = String, Query),
        ("metricNames" = Option<Vec<String>>, Query, description = "Only these; all where none is named")),
    responses((status = 200, body = MetricsResponse), (status = 400, body = ErrorBody),
        (status = 403, description = "The server keeps no telemetry", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn metrics(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<MetricsResponse>, ApiError> {
    let range = range(&mut query);
    // Commas as well, as the analytics API has it that clients know beside this one.
    let names: Vec<String> = query
        .texts("metricNames")
        .iter()
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    query.finish()?;
    let points = app.control().sandbox_samples(&caller, &id, range).await?;
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let series = METRICS.iter().filter(|metric| is_wanted(metric.name));
    Ok(Json(MetricsResponse {
        series: series.map(|metric| one_series(metric, &points)).collect(),
    }))
}

fn one_series(metric: &Metric, points: &[Point]) -> MetricSeries {
    let data_points = points.iter().filter_map(|point| {
        Some(MetricDataPoint {
            timestamp: point.at.into(),
            value: (metric.value)(point)?,
        })
    });
    MetricSeries {
        metric_name: metric.name.to_owned(),
        data_points: data_points.collect(),
    }
}

/// What was told of a sandbox, the newest first: changes of its state, and requests to its toolbox that failed.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/telemetry/logs", tag = "sandbox",
    operation_id = "getSandboxLogs",
    params(("sandboxIdOrName" = String, Path), ("from" = String, Query), ("to" = String, Query),
        ("page" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("severities" = Option<Vec<String>>, Query, description = "DEBUG, INFO, WARN, ERROR"),
        ("search" = Option<String>, Query, description = "Part of the text")),
    responses((status = 200, body = LogPage), (status = 400, body = ErrorBody),
        (status = 403, description = "The server keeps no telemetry", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn logs(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<LogPage>, ApiError> {
    let list = ListLogs {
        range: range(&mut query),
        severities: query.words("severities", Severity::parse),
        search: query.text("search"),
        page: query.integer("page"),
        limit: query.integer("limit"),
    };
    query.finish()?;
    let sandbox = app.control().get_sandbox(&caller, &id).await?;
    let found = app.control().sandbox_logs(&caller, &id, list).await?;
    let service = format!("sandbox-{}", sandbox.id);
    let resource = BTreeMap::from([("service.name".to_owned(), service.clone())]);
    let entry = |log: LogRecord| LogEntry {
        timestamp: log.at.into(),
        body: log.body,
        severity_text: log.severity.as_str().to_owned(),
        severity_number: log.severity.number(),
        service_name: service.clone(),
        resource_attributes: resource.clone(),
        log_attributes: log.attributes,
        trace_id: log.trace.map(|id| id.to_string()),
        span_id: log.span.map(|id| id.to_string()),
    };
    Ok(Json(LogPage {
        items: found.items.into_iter().map(entry).collect(),
        total: found.total,
        page: found.page,
        total_pages: found.total_pages,
    }))
}

/// Traces that a sandbox has a part in, the newest first. Each request to its toolbox is a span: of the trace that the
/// caller names (`traceparent`), or of its own.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/telemetry/traces", tag = "sandbox",
    operation_id = "getSandboxTraces",
    params(("sandboxIdOrName" = String, Path), ("from" = String, Query), ("to" = String, Query),
        ("page" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = TracePage), (status = 400, body = ErrorBody),
        (status = 403, description = "The server keeps no telemetry", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn traces(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<TracePage>, ApiError> {
    let range = range(&mut query);
    let (page, limit) = (query.integer("page"), query.integer("limit"));
    query.finish()?;
    let control = app.control();
    let found = control.sandbox_traces(&caller, &id, range, page, limit);
    let found = found.await?;
    Ok(Json(TracePage {
        items: found.items.iter().map(summary).collect(),
        total: found.total,
        page: found.page,
        total_pages: found.total_pages,
    }))
}

/// The spans of one trace that are of a sandbox, in the order of their starts.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/telemetry/traces/{traceId}", tag = "sandbox",
    operation_id = "getSandboxTraceSpans",
    params(("sandboxIdOrName" = String, Path), ("traceId" = String, Path)),
    responses((status = 200, body = Vec<TraceSpan>),
        (status = 403, description = "The server keeps no telemetry", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn spans(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, trace)): PathOf<(String, String)>,
) -> Result<Json<Vec<TraceSpan>>, ApiError> {
    let spans = app.control().sandbox_trace(&caller, &id, &trace).await?;
    Ok(Json(spans.into_iter().map(span).collect()))
}

pub(super) fn range(query: &mut Query) -> TelemetryRange {
    TelemetryRange {
        from: query.timestamp("from"),
        to: query.timestamp("to"),
    }
}

fn summary(found: &Summary) -> TraceSummary {
    TraceSummary {
        trace_id: found.trace.to_string(),
        root_span_name: found.root_name.clone(),
        start_time: found.start.into(),
        end_time: found.end.into(),
        duration_ms: found.end.duration_since(found.start).as_secs_f64() * 1000.0,
        span_count: found.span_count as u64,
        status_code: status(&found.status).0,
    }
}

fn span(span: Span) -> TraceSpan {
    let (status_code, status_message) = status(&span.status);
    TraceSpan {
        trace_id: span.trace.to_string(),
        span_id: span.id.to_string(),
        parent_span_id: span.parent.map(|id| id.to_string()),
        span_name: span.name,
        timestamp: span.start.into(),
        duration_ns: u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX),
        span_attributes: span.attributes,
        status_code,
        status_message,
    }
}

fn status(status: &SpanStatus) -> (String, Option<String>) {
    match status {
        SpanStatus::Ok => ("Ok".to_owned(), None),
        SpanStatus::Error { message } => ("Error".to_owned(), Some(message.clone())),
    }
}
