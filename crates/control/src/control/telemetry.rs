//! What is kept of a sandbox's telemetry, for those who may see the sandbox.

use alcove_domain::{OffsetPage, Reason, SandboxId};
use alcove_telemetry::{LogRecord, Point, Severity, Span, SpanStatus, TraceId};
use jiff::Timestamp;

use super::Control;
use crate::list::{Page, page_count};
use crate::telemetry::{self, ToolboxCall};
use crate::{Caller, Error, sandboxes};

/// A range of time, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct TelemetryRange {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// Which log records are wanted.
#[derive(Debug, Clone)]
pub struct ListLogs {
    pub range: TelemetryRange,
    /// Of any of these; empty is of all.
    pub severities: Vec<Severity>,
    /// Part of the text, in small letters or capitals.
    pub search: Option<String>,
    pub page: Option<i64>,
    pub limit: Option<i64>,
}

/// What is kept of one trace, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSummary {
    pub trace: TraceId,
    /// The name of the first span that is part of no other one here.
    pub root_name: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub span_count: usize,
    pub status: SpanStatus,
}

impl TelemetryRange {
    pub(crate) fn check(self) -> Result<(Timestamp, Timestamp), Error> {
        let missing = |name: &str| Reason::invalid(format!("{name} must be given"));
        let mut reasons = Vec::new();
        reasons.extend(self.from.is_none().then(|| missing("from")));
        reasons.extend(self.to.is_none().then(|| missing("to")));
        let range = self.from.zip(self.to);
        if range.is_some_and(|(from, to)| from > to) {
            reasons.push(Reason::invalid("from must not be later than to"));
        }
        Error::check(reasons)?;
        range.ok_or(Error::Internal {
            doing: "reading a range of time",
            cause: None,
        })
    }
}

impl Control {
    /// Samples of what a sandbox used, in order, finer the younger they are.
    pub async fn sandbox_samples(
        &self,
        caller: &Caller,
        sandbox: &str,
        range: TelemetryRange,
    ) -> Result<Vec<Point>, Error> {
        let (sandbox, (from, to)) = (self.of_telemetry(caller, sandbox)?, range.check()?);
        let now = self.shared.clock.now();
        telemetry::with(&self.shared, "reading samples", move |kept| {
            kept.points(&sandbox, from, to, now)
        })
        .await
    }

    /// What was told of a sandbox, the newest first.
    pub async fn sandbox_logs(
        &self,
        caller: &Caller,
        sandbox: &str,
        list: ListLogs,
    ) -> Result<OffsetPage<LogRecord>, Error> {
        let (sandbox, (from, to)) = (self.of_telemetry(caller, sandbox)?, list.range.check()?);
        let page = Page::parse(list.page, list.limit)?;
        let now = self.shared.clock.now();
        let logs = telemetry::with(&self.shared, "reading logs", move |kept| {
            kept.flush()?;
            kept.logs(&sandbox, now)
        });
        let mut logs = logs.await?;
        let search = list.search.map(|text| text.to_lowercase());
        logs.retain(|log| {
            (from..=to).contains(&log.at)
                && (list.severities.is_empty() || list.severities.contains(&log.severity))
                && search
                    .as_ref()
                    .is_none_or(|text| log.body.to_lowercase().contains(text))
        });
        Ok(cut(logs, page))
    }

    /// Traces with a span of a sandbox that began in the range, the newest first.
    pub async fn sandbox_traces(
        &self,
        caller: &Caller,
        sandbox: &str,
        range: TelemetryRange,
        page: Option<i64>,
        limit: Option<i64>,
    ) -> Result<OffsetPage<TraceSummary>, Error> {
        let (sandbox, (from, to)) = (self.of_telemetry(caller, sandbox)?, range.check()?);
        let page = Page::parse(page, limit)?;
        let traces = self.traces(sandbox).await?;
        let in_range = |spans: &&Vec<Span>| {
            let mut spans = spans.iter();
            spans.any(|span| (from..=to).contains(&span.start))
        };
        let summaries = traces
            .iter()
            .filter(in_range)
            .filter_map(|spans| summary(spans));
        let mut summaries: Vec<TraceSummary> = summaries.collect();
        summaries.sort_by_key(|summary| (std::cmp::Reverse(summary.start), summary.trace));
        Ok(cut(summaries, page))
    }

    /// The spans of one trace that are of a sandbox, in the order of their starts.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the sandbox has none, or none any more.
    pub async fn sandbox_trace(
        &self,
        caller: &Caller,
        sandbox: &str,
        trace: &str,
    ) -> Result<Vec<Span>, Error> {
        let sandbox = self.of_telemetry(caller, sandbox)?;
        let traces = self.traces(sandbox).await?;
        let wanted: Option<TraceId> = trace.parse().ok();
        let mut traces = traces.into_iter();
        traces
            .find(|spans| spans.first().map(|span| span.trace) == wanted && wanted.is_some())
            .ok_or_else(|| Error::NotFound {
                message: format!("Trace with ID {trace} not found"),
            })
    }

    /// Notes a request that went to a sandbox's toolbox. Memory only; written down a little later.
    pub fn record_call(&self, call: &ToolboxCall) {
        telemetry::note_call(&self.shared, call);
    }

    async fn traces(&self, sandbox: SandboxId) -> Result<Vec<Vec<Span>>, Error> {
        let now = self.shared.clock.now();
        telemetry::with(&self.shared, "reading traces", move |kept| {
            kept.flush()?;
            kept.traces(&sandbox, now)
        })
        .await
    }

    fn of_telemetry(&self, caller: &Caller, sandbox: &str) -> Result<SandboxId, Error> {
        let entry = sandboxes::find(&self.shared, caller, sandbox)?;
        Ok(entry.sandbox().id.clone())
    }
}

/// `spans` are in the order of their starts.
fn summary(spans: &[Span]) -> Option<TraceSummary> {
    let is_here = |id| spans.iter().any(|span| Some(span.id) == id);
    let root = spans
        .iter()
        .find(|span| span.parent.is_none() || !is_here(span.parent))
        .or(spans.first())?;
    let end = spans.iter().map(Span::end).max()?;
    let failed = spans
        .iter()
        .find(|span| matches!(span.status, SpanStatus::Error { .. }));
    Some(TraceSummary {
        trace: root.trace,
        root_name: root.name.clone(),
        start: spans.first()?.start,
        end,
        span_count: spans.len(),
        status: failed.unwrap_or(root).status.clone(),
    })
}

fn cut<T>(items: Vec<T>, page: Page) -> OffsetPage<T> {
    let total = items.len() as u64;
    let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    OffsetPage {
        items: items.into_iter().skip(offset).take(limit).collect(),
        total,
        page: page.number,
        total_pages: page_count(total, page.limit),
    }
}
