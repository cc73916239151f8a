//! What the operator decides about the control plane, out of the arguments.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::{ConfiguredCredentials, Settings, SnapshotLimits};
use alcove_runner::HostSize;
use alcove_server::Webhooks;
use anyhow::Context as _;

use super::Arguments;
use crate::key;

/// The settings of the control plane, which is reached at this URL.
pub(super) fn of(
    arguments: &Arguments,
    credentials: ConfiguredCredentials,
    data_dir: &Path,
    public_url: &str,
) -> anyhow::Result<Settings> {
    let days = u64::from(arguments.snapshot_unused_days);
    let webhooks = Webhooks::new(&arguments.webhook_hosts);
    let webhooks = webhooks.context("cannot read the host's certificates")?;
    let has = HostSize::of(data_dir).context("cannot read how large the host is")?;
    Ok(Settings {
        webhooks: Some(Arc::new(webhooks)),
        telemetry: arguments.telemetry.open(data_dir)?,
        otlp: Some(arguments.telemetry.sender()?),
        audit: arguments.audit.settings(),
        rate_limits: arguments.limits.limits(|name| std::env::var(name).ok())?,
        sealing_key: Some(key::sealing(&data_dir.join("sealing.key"))?),
        snapshots: SnapshotLimits {
            quota: arguments.snapshot_quota,
            max_bytes: u64::from(arguments.snapshot_max_size) << 30,
            unused: (days > 0).then(|| Duration::from_hours(24 * days)),
        },
        credentials: Arc::new(credentials),
        volume_bytes: arguments.volume_size << 20,
        volume_quota: arguments.volume_quota,
        warm_pool_bytes: arguments.warm_pool_memory << 20,
        visitors_start: arguments.doors.visitors_start(),
        draining: arguments.doors.fleet.draining(),
        placing: arguments.doors.fleet.placing(),
        host_bound: arguments.doors.fleet.host_bound(has),
        proxy_key: arguments.doors.fleet.proxy_key(),
        sso: Some(arguments.people.oidc.organizations()?),
        identity_provider: arguments.people.oidc.provider()?,
        mail: arguments.people.mail.sender(public_url)?,
        ..Settings::default()
    })
}
