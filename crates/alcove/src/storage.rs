//! Object storage and registry of this server: where objects are kept, who comes in, and what is tidied.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alcove_control::Control;
use alcove_storage::faults::{Faults, NoFaults};
use alcove_storage::registry::{Door, Registry, Visitor};
use alcove_storage::s3::AccessKeys;
use alcove_storage::{
    Bucket, FolderStore, ForeignSettings, ForeignStore, Limits, List, ObjectStore, remove_all_of,
};
use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::kill::KillAt;

/// An upload in parts to which nothing was added for so long is given up.
const UPLOAD_LASTS: Duration = Duration::from_hours(24);
/// A blob in the registry that no manifest names is left alone for so long after it was pushed or asked for.
const BLOB_LASTS: Duration = Duration::from_hours(24);
/// How often they are looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Where objects are kept, and how many.
#[derive(Debug, Clone, clap::Args)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the names of the arguments"
)]
pub struct StorageArguments {
    /// Largest sum of objects of an organization, in GiB: build contexts, and apart from them images in the registry.
    #[arg(long, env = "ALCOVE_STORAGE_QUOTA_GIB", default_value_t = 20)]
    storage_quota_gib: u64,
    /// Another S3 store that keeps the objects instead of the data folder, as https://HOST[:PORT]; see
    /// docs/object-storage.md. What the data folder holds is moved there at the start.
    #[arg(
        long,
        env = "ALCOVE_STORAGE_ENDPOINT",
        value_name = "URL",
        requires = "storage_bucket"
    )]
    storage_endpoint: Option<String>,
    /// Its bucket, which must be there.
    #[arg(
        long,
        env = "ALCOVE_STORAGE_BUCKET",
        value_name = "NAME",
        requires = "storage_endpoint"
    )]
    storage_bucket: Option<String>,
    /// Its region.
    #[arg(
        long,
        env = "ALCOVE_STORAGE_REGION",
        value_name = "NAME",
        default_value = "us-east-1"
    )]
    storage_region: String,
    /// What the names of objects in the bucket begin with. No other server may use the same.
    #[arg(
        long,
        env = "ALCOVE_STORAGE_PREFIX",
        value_name = "PATH",
        default_value = "alcove"
    )]
    storage_prefix: String,
    /// A file with the store's access key on its first line and the secret key on its second.
    #[arg(long, env = "ALCOVE_STORAGE_KEYS", value_name = "FILE")]
    storage_keys: Option<PathBuf>,
    /// The store's access key, where no file says it.
    #[arg(
        long,
        env = "ALCOVE_STORAGE_ACCESS_KEY",
        value_name = "KEY",
        hide_env_values = true,
        conflicts_with = "storage_keys",
        requires = "storage_secret_key"
    )]
    storage_access_key: Option<Hidden>,
    /// The store's secret key, where no file says it. Better in the environment: arguments can be seen by others.
    #[arg(
        long,
        env = "ALCOVE_STORAGE_SECRET_KEY",
        value_name = "KEY",
        hide_env_values = true,
        conflicts_with = "storage_keys",
        requires = "storage_access_key"
    )]
    storage_secret_key: Option<Hidden>,
    /// The bucket's name is a part of the host's name, and not of the path.
    #[arg(long, env = "ALCOVE_STORAGE_VIRTUAL_HOSTED")]
    storage_virtual_hosted: bool,
}

/// A text that is in no log.
#[derive(Clone)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl StorageArguments {
    /// The most that objects of an organization have together.
    pub fn bytes_per_owner(&self) -> u64 {
        self.storage_quota_gib.saturating_mul(1 << 30)
    }

    /// How much is taken, where so many MiB of the disk are left to the host.
    pub fn limits(&self, disk_reserve_mib: u64) -> Limits {
        Limits {
            bytes_per_owner: self.bytes_per_owner(),
            disk_reserve_bytes: disk_reserve_mib << 20,
            ..Limits::default()
        }
    }

    /// Whether another store keeps the objects.
    pub fn is_foreign(&self) -> bool {
        self.storage_endpoint.is_some()
    }

    /// Opens what keeps the objects.
    pub async fn open(
        &self,
        data_dir: &Path,
        limits: Limits,
        kill: Option<Arc<KillAt>>,
    ) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let folder = data_dir.join("storage");
        let faults: Arc<dyn Faults> = match kill {
            Some(kill) => kill,
            None => Arc::new(NoFaults),
        };
        let Some(settings) = self.foreign()? else {
            let opened = FolderStore::open_with_faults(&folder, limits, faults).await;
            return Ok(Arc::new(opened.context("cannot open the object storage")?));
        };
        let place = format!("the bucket {} at {}", settings.bucket, settings.endpoint);
        let store = ForeignStore::open_with_faults(settings, &folder, limits, faults)
            .await
            .with_context(|| format!("cannot use {place}"))?;
        let moved = store.move_in().await;
        let moved = moved
            .with_context(|| format!("cannot move the objects of the data folder into {place}"))?;
        if moved > 0 {
            tracing::info!("moved {moved} objects of the data folder into {place}");
        }
        // A store that is away comes back; what needs it says so until then.
        if let Err(error) = store.list(Bucket::CONTEXTS, one()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "{place} cannot be used now"
            );
        }
        Ok(Arc::new(store))
    }

    /// The other store, where one is asked for.
    fn foreign(&self) -> anyhow::Result<Option<ForeignSettings>> {
        let (Some(endpoint), Some(bucket)) = (&self.storage_endpoint, &self.storage_bucket) else {
            return Ok(None);
        };
        let (access_key, secret_key) = self.keys()?;
        let settings = ForeignSettings {
            endpoint: endpoint.clone(),
            bucket: bucket.clone(),
            region: self.storage_region.clone(),
            prefix: self.storage_prefix.clone(),
            access_key,
            secret_key,
            is_virtual_hosted: self.storage_virtual_hosted,
        };
        settings.check().context("cannot use another S3 store")?;
        Ok(Some(settings))
    }

    fn keys(&self) -> anyhow::Result<(String, String)> {
        if let Some(file) = &self.storage_keys {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read --storage-keys {}", file.display()))?;
            let mut lines = text.lines().map(|line| line.trim().to_owned());
            return match (lines.next(), lines.next(), lines.next()) {
                (Some(access), Some(secret), None) => Ok((access, secret)),
                _ => bail!(
                    "{} must have two lines: the access key, and the secret key",
                    file.display()
                ),
            };
        }
        match (&self.storage_access_key, &self.storage_secret_key) {
            (Some(access), Some(secret)) => Ok((access.0.clone(), secret.0.clone())),
            _ => bail!(
                "--storage-endpoint needs keys: --storage-keys, or ALCOVE_STORAGE_ACCESS_KEY and ALCOVE_STORAGE_SECRET_KEY"
            ),
        }
    }
}

/// Removes the objects of organizations that are gone. They are remembered until nobody can put more there.
async fn remove_departed(store: &dyn ObjectStore, control: &Control) -> anyhow::Result<()> {
    for departed in control.departed_organizations().await? {
        let organization = &departed.organization;
        let count = remove_all_of(store, organization.as_str()).await?;
        if count > 0 {
            tracing::info!(
                organization.id = %organization,
                count,
                "removed {count} objects of organization {organization}, which is gone"
            );
        }
        if departed.can_be_forgotten {
            control.forget_departed(organization).await?;
        }
    }
    Ok(())
}

/// The shortest of lists.
fn one() -> List {
    List {
        max: 1,
        ..List::default()
    }
}

/// Removes uploads that nobody finishes, blobs that no manifest needs and what organizations left that are gone, until
/// `stop`.
pub async fn sweep(
    store: Arc<dyn ObjectStore>,
    registry: Registry,
    control: Control,
    stop: CancellationToken,
) {
    loop {
        if let Err(error) = remove_departed(&*store, &control).await {
            tracing::error!("cannot remove what a deleted organization left: {error:#}");
        }
        match store.remove_stale_uploads(ago(UPLOAD_LASTS)).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed uploads that nobody finished"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot remove uploads that nobody finished"
            ),
        }
        match registry.collect(ago(BLOB_LASTS)).await {
            Ok(collected) if collected.blobs == 0 => {}
            Ok(collected) => tracing::info!(
                collected.blobs,
                collected.bytes,
                "removed {} blobs of the registry that no manifest names",
                collected.blobs
            ),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot remove blobs that no manifest names"
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
fn ago(past: Duration) -> SystemTime {
    let then = SystemTime::now().checked_sub(past);
    then.unwrap_or(SystemTime::UNIX_EPOCH)
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
