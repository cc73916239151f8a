//! What each measure of the proxy came to.

use serde::Serialize;

use super::super::promise::{self, Row};
use super::super::stats::Summary;
use super::super::table;
use super::gate::Gate;
use super::policy::Policy;

/// What was not measured is absent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    pub policy: Option<Policy>,
    pub proxied: Option<Summary>,
    pub direct: Option<Summary>,
    pub rates: Option<Rates>,
    pub download: Option<Speeds>,
    pub upload: Option<Speeds>,
    pub gate: Option<Gate>,
    /// Of the server's memory, for each idle WebSocket.
    pub socket_bytes: Option<f64>,
    /// The same for each idle SSH session.
    pub session_bytes: Option<f64>,
    /// What could not be measured.
    pub missing: Vec<Missing>,
}

/// A program that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    Nginx,
    /// Those that make a network namespace.
    Tools,
    Ssh,
}

impl Missing {
    fn row(self) -> Row {
        let (name, target, measured) = match self {
            Self::Nginx => (
                "pages / nginx",
                "at least 0.5",
                "not measured: there is no nginx (Debian's nginx-light)",
            ),
            Self::Tools => (
                "gate",
                "none",
                "not measured: ip, unshare or nsenter is missing (Debian's iproute2, util-linux)",
            ),
            Self::Ssh => (
                "an idle SSH session",
                "none",
                "not measured: there is no ssh (Debian's openssh-client)",
            ),
        };
        Row {
            name,
            target: target.to_owned(),
            measured: measured.to_owned(),
            is_met: false,
        }
    }
}

/// Pages a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rates {
    pub proxied: f64,
    pub nginx: f64,
}

/// MiB a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Speeds {
    pub proxied: f64,
    pub direct: f64,
}

impl Results {
    pub fn table(&self) -> String {
        let mut measures = vec![
            ("a page, through the proxy", self.proxied.as_ref()),
            ("a page, straight", self.direct.as_ref()),
        ];
        // Not asked for.
        measures.retain(|(_, summary)| summary.is_some());
        if let Some(gate) = &self.gate {
            measures.extend([
                ("first byte, through the gate", gate.through.as_ref()),
                ("first byte, straight", gate.straight.as_ref()),
            ]);
        }
        if let Some(policy) = &self.policy {
            measures.extend([
                ("slot and policy, everything", policy.everything.as_ref()),
                ("slot and policy, 10 networks", policy.networks.as_ref()),
                ("slot and policy, 10 names", policy.names.as_ref()),
            ]);
        }
        format!(
            "{}\n{}",
            table::summaries(&measures),
            promise::table(&self.rows())
        )
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let (Some(proxied), Some(direct)) = (&self.proxied, &self.direct) {
            let added = [
                ("added latency, p50", 0.5, proxied.p50_ms - direct.p50_ms),
                ("added latency, p99", 3.0, proxied.p99_ms - direct.p99_ms),
            ];
            rows.extend(added.map(|(name, most, added)| Row::at_most(name, most, added, "ms")));
        }
        for (name, speeds) in [
            ("download / straight", self.download),
            ("upload / straight", self.upload),
        ] {
            if let Some(Speeds { proxied, direct }) = speeds {
                let what = format!("{proxied:.0} of {direct:.0} MiB/s");
                rows.push(Row::at_least(name, 0.6, proxied / direct, &what));
            }
        }
        if let Some(Rates { proxied, nginx }) = self.rates {
            let what = format!("{proxied:.0}/s of {nginx:.0}/s");
            rows.push(Row::at_least("pages / nginx", 0.5, proxied / nginx, &what));
        }
        if let Some(bytes) = self.socket_bytes {
            let kib = bytes / 1024.0;
            rows.push(Row::at_most("an idle WebSocket", 40.0, kib, "KiB"));
        }
        if let Some(policy) = &self.policy {
            let kinds = [&policy.everything, &policy.networks, &policy.names];
            let slowest = kinds.into_iter().flatten().map(|kind| kind.p50_ms);
            if let Some(slowest) = slowest.max_by(f64::total_cmp) {
                let name = "policy in a create, slowest p50";
                rows.push(Row::at_most(name, 1.0, slowest, "ms"));
            }
        }
        rows.extend(self.without_target());
        rows.extend(self.missing.iter().map(|missing| missing.row()));
        rows
    }

    /// Nothing was promised for these.
    fn without_target(&self) -> Vec<Row> {
        let row = |name, measured| Row {
            name,
            target: "none".to_owned(),
            measured,
            is_met: true,
        };
        let mut rows = Vec::new();
        if let Some(Gate {
            through: Some(through),
            straight: Some(straight),
            ..
        }) = &self.gate
        {
            let added = |name, ms: f64| row(name, format!("{ms:.2} ms"));
            rows.extend([
                added("gate, added latency, p50", through.p50_ms - straight.p50_ms),
                added("gate, added latency, p99", through.p99_ms - straight.p99_ms),
            ]);
        }
        if let Some(Speeds { proxied, direct }) = self.gate.as_ref().and_then(|gate| gate.speed) {
            let ratio = proxied / direct;
            let measured = format!("{ratio:.2} ({proxied:.0} of {direct:.0} MiB/s)");
            rows.push(row("gate, download / straight", measured));
        }
        if let Some(bytes) = self.session_bytes {
            let measured = format!("{:.1} KiB", bytes / 1024.0);
            rows.push(row("an idle SSH session", measured));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_could_not_be_measured_is_not_met_and_what_was_not_asked_for_has_no_row() {
        assert!(Results::default().rows().is_empty());
        let results = Results {
            missing: vec![Missing::Nginx, Missing::Tools, Missing::Ssh],
            ..Results::default()
        };
        let rows = results.rows();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| !row.is_met), "{rows:?}");
    }

    #[test]
    fn a_create_has_the_slowest_of_the_policies_and_the_gate_what_it_adds() {
        let of = |microseconds| Summary::of(&[Duration::from_micros(microseconds)]);
        let results = Results {
            policy: Some(Policy {
                everything: of(100),
                networks: of(1200),
                names: of(300),
            }),
            gate: Some(Gate {
                through: of(500),
                straight: of(250),
                speed: Some(Speeds {
                    proxied: 300.0,
                    direct: 600.0,
                }),
            }),
            session_bytes: Some(2048.0),
            ..Results::default()
        };
        let table = promise::table(&results.rows());
        let expected = "                                 target        measured
policy in a create, slowest p50  at most 1 ms  1.20 ms  MISSED
gate, added latency, p50         none          0.25 ms
gate, added latency, p99         none          0.25 ms
gate, download / straight        none          0.50 (300 of 600 MiB/s)
an idle SSH session              none          2.0 KiB
";
        assert_eq!(table, expected);
    }
}
