//! What the operator says about telemetry of sandboxes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::TelemetrySettings;
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
}

impl TelemetryArguments {
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
