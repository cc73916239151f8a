//! What the operator says about telemetry of sandboxes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{OtlpSender, TelemetrySettings};
use alcove_server::Otlp;
use alcove_telemetry::Telemetry;
use anyhow::Context as _;

#[derive(Debug, clap::Args)]
pub struct TelemetryArguments {
    /// Whether telemetry of sandboxes is kept: what they use, changes of their state, requests to their toolboxes. At most
    /// about 1 MiB for each, in the data folder.
    #[arg(long, env = "ALCOVE_TELEMETRY", default_value_t = true, action = clap::ArgAction::Set)]
    telemetry: bool,
    /// Seconds between two samples of what each sandbox uses; 0 takes none.
    #[arg(long, env = "ALCOVE_TELEMETRY_INTERVAL", value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(..=3600))]
    telemetry_interval: u64,
    /// A host at a private address that organizations may have telemetry sent to, such as otlp.internal; may be given several
    /// times, or with commas. Hosts at public addresses need not be named.
    #[arg(
        long = "telemetry-host",
        env = "ALCOVE_TELEMETRY_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    telemetry_hosts: Vec<String>,
}

impl TelemetryArguments {
    /// What sends telemetry on to the endpoints of organizations.
    pub fn sender(&self) -> anyhow::Result<Arc<dyn OtlpSender>> {
        let otlp = Otlp::new(&self.telemetry_hosts);
        Ok(Arc::new(otlp.context("cannot send telemetry")?))
    }

    /// Where telemetry is kept. None where the operator wants none.
    pub fn open(&self, data_dir: &Path) -> anyhow::Result<Option<TelemetrySettings>> {
        if !self.telemetry {
            return Ok(None);
        }
        let kept = Telemetry::open(data_dir.join("telemetry"));
        let kept = kept.context("cannot open the folder of telemetry")?;
        let seconds = self.telemetry_interval;
        Ok(Some(TelemetrySettings {
            kept: Arc::new(kept),
            sample_every: (seconds > 0).then(|| Duration::from_secs(seconds)),
        }))
    }
}
