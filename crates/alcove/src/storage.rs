//! Object storage and registry of this server: who comes in, and what is tidied.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alcove_control::Control;
use alcove_storage::registry::{Door, Visitor};
use alcove_storage::s3::AccessKeys;
use alcove_storage::{FolderStore, Limits};
use anyhow::Context;
use tokio_util::sync::CancellationToken;

/// An upload in parts to which nothing was added for so long is given up.
const UPLOAD_LASTS: Duration = Duration::from_hours(24);
/// How often it is looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Opens the folder of all objects.
pub async fn open(data_dir: &Path, limits: Limits) -> anyhow::Result<FolderStore> {
    FolderStore::open(&data_dir.join("storage"), limits)
        .await
        .context("cannot open the object storage")
}

/// Removes uploads that nobody finishes, until `stop`.
pub async fn sweep(store: FolderStore, stop: CancellationToken) {
    loop {
        let before = now().checked_sub(UPLOAD_LASTS);
        match store
            .remove_stale_uploads(before.unwrap_or(SystemTime::UNIX_EPOCH))
            .await
        {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed uploads that nobody finished"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot remove uploads that nobody finished"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with what the file system wrote by the same clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Lets those in whom the control plane knows.
#[derive(Debug, Clone)]
pub struct Gate {
    control: Control,
}

impl Gate {
    pub fn new(control: Control) -> Arc<Self> {
        Arc::new(Self { control })
    }
}

impl Door for Gate {
    fn visitor(&self, secret: &str) -> Option<Visitor> {
        let visitor = self.control.registry_visitor(secret)?;
        Some(Visitor {
            owner: visitor.organization.to_string(),
            seconds_left: visitor.seconds_left,
        })
    }
}

impl AccessKeys for Gate {
    fn secret(&self, access_key: &str) -> String {
        self.control.object_storage_secret(access_key).0
    }

    fn owner(&self, access_key: &str, session_token: &str) -> Option<String> {
        let organization = self
            .control
            .object_storage_visitor(access_key, session_token)?;
        Some(organization.to_string())
    }
}
