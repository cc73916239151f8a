//! What each measure of the proxy came to.

use serde::Serialize;

use super::super::promise::{self, Row};
use super::super::stats::Summary;
use super::super::table;

/// What was not measured is absent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    pub proxied: Option<Summary>,
    pub direct: Option<Summary>,
    pub rates: Option<Rates>,
    pub download: Option<Speeds>,
    pub upload: Option<Speeds>,
    /// Of the server's memory, for each idle WebSocket.
    pub socket_bytes: Option<f64>,
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
        let summaries = table::summaries(&[
            ("a page, through the proxy", self.proxied.as_ref()),
            ("a page, straight", self.direct.as_ref()),
        ]);
        format!("{summaries}\n{}", promise::table(&self.rows()))
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
        match self.rates {
            Some(Rates { proxied, nginx }) => {
                let what = format!("{proxied:.0}/s of {nginx:.0}/s");
                rows.push(Row::at_least("pages / nginx", 0.5, proxied / nginx, &what));
            }
            None => rows.push(Row {
                name: "pages / nginx",
                target: "at least 0.5".to_owned(),
                measured: "not measured: there is no nginx (Debian's nginx-light)".to_owned(),
                is_met: false,
            }),
        }
        if let Some(bytes) = self.socket_bytes {
            let kib = bytes / 1024.0;
            rows.push(Row::at_most("an idle WebSocket", 40.0, kib, "KiB"));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_met() {
        let rows = Results::default().rows();
        assert_eq!((rows.len(), rows[0].is_met), (1, false));
    }
}
