//! What each measure of a toolbox came to.

use serde::Serialize;

use super::super::promise::{self, Row};
use super::super::stats::Summary;
use super::super::table::{self, bytes_in_mib};
use super::execute::Execute;
use super::follow::Follow;
use super::quiet::Quiet;
use super::transfer::Transfer;

/// What server and agent may grow by while much passes through them, in MiB.
const GROWTH_MAX_MIB: f64 = 16.0;

/// What was not measured is absent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    pub quiet: Option<Quiet>,
    pub execute: Option<Execute>,
    pub interpreter: Option<Summary>,
    pub terminal: Option<Summary>,
    pub transfer: Option<Transfer>,
    pub follow: Option<Follow>,
}

impl Results {
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut summaries = Vec::new();
        if let Some(execute) = &self.execute {
            summaries.extend([
                ("execute `true`, API", execute.api.as_ref()),
                ("execute `true`, agent's socket", execute.agent.as_ref()),
                ("spawn of the same shell", execute.bare.as_ref()),
                (
                    "`true` for a client of Vercel Sandbox",
                    execute.vercel.as_ref(),
                ),
            ]);
        }
        for (name, summary) in [
            ("interpreter `1+1`", &self.interpreter),
            ("terminal, echo of a byte", &self.terminal),
        ] {
            summaries.extend(summary.as_ref().map(|summary| (name, Some(summary))));
        }
        if !summaries.is_empty() {
            out += &table::summaries(&summaries);
            out += "\n";
        }
        out += &promise::table(&self.rows());
        out
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(execute) = &self.execute {
            if let Some(api) = &execute.api {
                rows.push(Row::at_most("execute, API, p50", 3.0, api.p50_ms, "ms"));
                rows.push(Row::at_most("execute, API, p99", 10.0, api.p99_ms, "ms"));
            }
            if let Some(agent) = &execute.agent {
                rows.push(Row::at_most("execute, agent, p50", 1.5, agent.p50_ms, "ms"));
                rows.push(Row::at_most("execute, agent, p99", 4.0, agent.p99_ms, "ms"));
            }
            if let (Some(vercel), Some(api)) = (&execute.vercel, &execute.api) {
                let more = vercel.p50_ms - api.p50_ms;
                rows.push(Row::at_most(
                    "Vercel command over execute, p50",
                    1.0,
                    more,
                    "ms",
                ));
            }
            let rate = &execute.throughput;
            let what = format!(
                "{} clients {:.0}/s, {} bare loops {:.0}/s",
                rate.clients, rate.per_second, rate.bare_loops, rate.bare_per_second
            );
            rows.push(Row::at_least(
                "execute, throughput / bare",
                0.6,
                rate.ratio(),
                &what,
            ));
        }
        if let Some(summary) = &self.interpreter {
            rows.push(Row::at_most("interpreter, p50", 3.0, summary.p50_ms, "ms"));
        }
        if let Some(summary) = &self.terminal {
            rows.push(Row::at_most("terminal, p50", 2.0, summary.p50_ms, "ms"));
        }
        if let Some(transfer) = &self.transfer {
            for (name, speed) in [
                ("upload / loopback", &transfer.upload),
                ("download / loopback", &transfer.download),
            ] {
                let what = format!("{:.0} of {:.0} MiB/s", speed.api, speed.loopback);
                rows.push(Row::at_least(name, 0.5, speed.ratio(), &what));
            }
            for (name, speed) in [
                ("upload / loopback, then a plain write", &transfer.upload),
                ("download / loopback, then a plain read", &transfer.download),
            ] {
                let (ratio, alone) = (speed.ratio_to_both(), speed.file);
                rows.push(Row {
                    name,
                    // Says how much of a miss is the file's.
                    target: "none".to_owned(),
                    measured: format!("{ratio:.2} (the file alone {alone:.0} MiB/s)"),
                    is_met: true,
                });
            }
            rows.push(growth("transfer, agent grows", transfer.growth.agent_bytes));
            rows.push(growth(
                "transfer, server grows",
                transfer.growth.server_bytes,
            ));
        }
        if let Some(follow) = &self.follow {
            rows.push(Row {
                name: "live output",
                target: "complete, in order".to_owned(),
                measured: format!(
                    "{} complete, in order, {:.0} MiB/s",
                    table::mib(follow.bytes),
                    follow.mib_per_second
                ),
                // Else there would be no result.
                is_met: true,
            });
            rows.push(growth(
                "live output, agent grows",
                follow.growth.agent_bytes,
            ));
        }
        if let Some(quiet) = &self.quiet {
            let mib = bytes_in_mib(quiet.resident_bytes);
            rows.push(Row::at_most("agent at rest, resident", 5.0, mib, "MiB"));
            let threads = u32::try_from(quiet.threads).unwrap_or(u32::MAX);
            rows.push(Row::at_most(
                "agent at rest, threads",
                3.0,
                threads.into(),
                "",
            ));
            let wake_ups = quiet.wake_ups_per_second;
            rows.push(Row::at_most(
                "agent at rest, wake-ups",
                0.0,
                wake_ups,
                "a second",
            ));
        }
        rows
    }
}

fn growth(name: &'static str, bytes: u64) -> Row {
    Row::at_most(name, GROWTH_MAX_MIB, bytes_in_mib(bytes), "MiB")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_measured_stands_beside_its_target_and_a_miss_is_said() {
        let results = Results {
            terminal: Summary::of(&[Duration::from_micros(1500)]),
            interpreter: Summary::of(&[Duration::from_micros(4500)]),
            ..Results::default()
        };
        let table = results.table();
        let tail = table.split_once("\n\n").map_or("", |(_, tail)| tail);
        let expected = "                  target        measured
interpreter, p50  at most 3 ms  4.50 ms  MISSED
terminal, p50     at most 2 ms  1.50 ms
";
        assert_eq!(tail, expected);
    }

    #[test]
    fn nothing_measured_is_an_empty_table() {
        assert!(Results::default().rows().is_empty());
    }
}
