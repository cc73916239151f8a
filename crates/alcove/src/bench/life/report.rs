//! What each measure of sandboxes' lives came to.

use serde::Serialize;

use super::super::promise::{self, Row};
use super::super::stats::Summary;
use super::super::table::{self, bytes_in_mib};
use super::copies::Copies;
use super::crowds::{Burst, Stopped, Sustained};
use super::rounds::Rounds;

/// What was not measured is absent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    pub stop: Option<Rounds>,
    pub burst: Option<Burst>,
    pub sustained: Option<Sustained>,
    pub copies: Option<Copies>,
    pub stopped: Option<Stopped>,
}

impl Results {
    pub fn table(&self) -> String {
        let mut summaries: Vec<(&str, Option<&Summary>)> = Vec::new();
        if let Some(stop) = &self.stop {
            summaries.extend([
                ("stop answered", stop.stop.as_ref()),
                ("start answered", stop.start.as_ref()),
                ("start, first output", stop.first_output.as_ref()),
            ]);
        }
        if let Some(burst) = &self.burst {
            summaries.push(("create in a burst", burst.create.as_ref()));
        }
        if let Some(copies) = &self.copies {
            summaries.extend([
                ("fork", copies.fork.as_ref()),
                ("snapshot", copies.snapshot.as_ref()),
                ("floor: one file written", copies.floor.as_ref()),
                ("floor: one file copied", copies.copied_file.as_ref()),
            ]);
        }
        let mut out = String::new();
        if !summaries.is_empty() {
            out += &table::summaries(&summaries);
            out += "\n";
        }
        out + &promise::table(&self.rows())
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(stop) = self.stop.as_ref().and_then(|stop| stop.stop.as_ref()) {
            rows.push(Row::at_most("stop, p50", 50.0, stop.p50_ms, "ms"));
        }
        let output = self
            .stop
            .as_ref()
            .and_then(|stop| stop.first_output.as_ref());
        if let Some(output) = output {
            rows.push(Row::at_most(
                "start, output, p50",
                12.0,
                output.p50_ms,
                "ms",
            ));
            rows.push(Row::at_most(
                "start, output, p99",
                50.0,
                output.p99_ms,
                "ms",
            ));
        }
        if let Some(burst) = &self.burst {
            rows.push(Row {
                name: "burst, failed",
                target: "none".to_owned(),
                measured: format!("{} of {}", burst.failed, burst.creates),
                is_met: burst.failed == 0,
            });
            if let Some(create) = &burst.create {
                rows.push(Row::at_most("burst, p99", 2000.0, create.p99_ms, "ms"));
            }
        }
        if let Some(sustained) = &self.sustained {
            let what = format!("pairs a second, {} clients", sustained.lanes);
            rows.push(Row::at_least(
                "create and delete",
                60.0,
                sustained.per_second,
                &what,
            ));
            rows.push(Row {
                name: "create and delete, grown",
                target: "flat".to_owned(),
                measured: format!(
                    "{}, {} handles",
                    table::mib(sustained.server_grown_bytes),
                    sustained.handles_grown
                ),
                is_met: bytes_in_mib(sustained.server_grown_bytes) <= FLAT_MIB
                    && sustained.handles_grown.abs() <= FLAT_HANDLES,
            });
        }
        if let Some(copies) = &self.copies {
            for (name, summary) in [
                ("fork, p50", &copies.fork),
                ("snapshot, p50", &copies.snapshot),
            ] {
                let summary = summary.as_ref();
                rows.extend(summary.map(|s| Row::at_most(name, 1000.0, s.p50_ms, "ms")));
            }
        }
        if let Some(stopped) = &self.stopped {
            let mib = bytes_in_mib(stopped.resident_bytes);
            rows.push(Row::at_most("server at rest, resident", 64.0, mib, "MiB"));
            let percent = stopped.processor_percent;
            rows.push(Row::at_most("server at rest, processor", 0.5, percent, "%"));
        }
        rows
    }
}

/// What an allocator keeps back or gives away, in MiB.
const FLAT_MIB: f64 = 4.0;

/// Deletes that go on behind the last answer.
const FLAT_HANDLES: i64 = 32;
