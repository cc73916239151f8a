//! Limits of organizations and what counts against them.

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// What stands where a number is needed and there is no limit.
pub const NO_LIMIT: u64 = i32::MAX as u64;

/// Use and limits of an organization. What has no limit shows 2147483647. The sums over its regions stand beside them, for
/// clients up to 0.120, which read nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct OrganizationUsageOverview {
    pub region_usage: Vec<RegionUsageOverview>,
    pub total_snapshot_quota: u64,
    pub current_snapshot_usage: u64,
    pub total_volume_quota: u64,
    pub current_volume_usage: u64,
}

/// The sums, by the names of what they are of.
pub(super) const SUMS: [&str; 6] = [
    "totalCpuQuota",
    "currentCpuUsage",
    "totalMemoryQuota",
    "currentMemoryUsage",
    "totalDiskQuota",
    "currentDiskUsage",
];

impl OrganizationUsageOverview {
    fn sums(&self) -> [u64; 6] {
        let sum = |of: fn(&RegionUsageOverview) -> u64| {
            let all = self.region_usage.iter().map(of);
            all.fold(0, u64::saturating_add).min(NO_LIMIT)
        };
        [
            sum(|region| region.total_cpu_quota),
            sum(|region| region.current_cpu_usage),
            sum(|region| region.total_memory_quota),
            sum(|region| region.current_memory_usage),
            sum(|region| region.total_disk_quota),
            sum(|region| region.current_disk_usage),
        ]
    }
}

impl Serialize for OrganizationUsageOverview {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Self::serialize(self, serde_json::value::Serializer);
        let sums = self.sums().map(Value::from);
        with_others(fields, SUMS.into_iter().zip(sums), serializer)
    }
}

impl<'de> Deserialize<'de> for OrganizationUsageOverview {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

/// An answer with fields that are no part of it but for some clients.
pub(super) fn with_others<S: Serializer>(
    fields: serde_json::Result<Value>,
    others: impl IntoIterator<Item = (&'static str, Value)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut fields = fields.map_err(S::Error::custom)?;
    if let Value::Object(fields) = &mut fields {
        let others = others.into_iter();
        fields.extend(others.map(|(name, value)| (name.to_owned(), value)));
    }
    fields.serialize(serializer)
}

/// Use and limits in one region, for one class of sandboxes. Memory and disk are in GiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionUsageOverview {
    pub region_id: String,
    pub sandbox_class: String,
    pub total_cpu_quota: u64,
    pub current_cpu_usage: u64,
    pub total_memory_quota: u64,
    pub current_memory_usage: u64,
    pub total_disk_quota: u64,
    pub current_disk_usage: u64,
    pub total_gpu_quota: u64,
    pub current_gpu_usage: u64,
    /// Sandboxes that there may be. Our own field.
    pub total_sandbox_quota: u64,
    /// Sandboxes that there are. Our own field.
    pub current_sandbox_usage: u64,
    #[schema(required = true)]
    pub max_cpu_per_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_memory_per_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_non_ephemeral_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_cpu_per_gpu: Option<u32>,
    #[schema(required = true)]
    pub max_memory_per_gpu: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_gpu: Option<u32>,
}

/// The body that sets limits. A field that is absent leaves its limit as it is; null or a negative number takes the
/// limit away. Memory and disk are in GiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UpdateOrganizationRegionQuota)]
pub struct UpdateRegionQuota {
    /// `container` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_class: Option<String>,
    #[schema(value_type = Option<i64>)]
    pub total_cpu_quota: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub total_memory_quota: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub total_disk_quota: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub total_gpu_quota: LimitChange,
    /// Sandboxes that there may be. Our own field.
    #[schema(value_type = Option<i64>)]
    pub total_sandbox_quota: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub max_cpu_per_sandbox: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub max_memory_per_sandbox: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub max_disk_per_sandbox: LimitChange,
    /// 0 permits ephemeral sandboxes only.
    #[schema(value_type = Option<i64>)]
    pub max_disk_per_non_ephemeral_sandbox: LimitChange,
    /// Fields of the contract that are about GPUs, which no host here has; named so that they can be refused.
    #[serde(skip)]
    pub gpu_fields: Vec<&'static str>,
}

/// The limits of an organization in one region, for one class of sandboxes. What has no limit shows 2147483647.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionQuota {
    pub organization_id: String,
    pub region_id: String,
    pub sandbox_class: String,
    pub total_cpu_quota: u64,
    pub total_memory_quota: u64,
    pub total_disk_quota: u64,
    pub total_gpu_quota: u64,
    /// Sandboxes that there may be. Our own field.
    pub total_sandbox_quota: u64,
    #[schema(required = true)]
    pub max_cpu_per_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_memory_per_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_non_ephemeral_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_cpu_per_gpu: Option<u32>,
    #[schema(required = true)]
    pub max_memory_per_gpu: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_gpu: Option<u32>,
    #[schema(required = true)]
    pub max_sandbox_lifespan: Option<u32>,
    /// What clients of 0.190 insist on in place of the three by GPU.
    #[schema(required = true)]
    pub max_cpu_per_gpu_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_memory_per_gpu_sandbox: Option<u32>,
    #[schema(required = true)]
    pub max_disk_per_gpu_sandbox: Option<u32>,
}

/// A page of what sandboxes counted over time, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePeriodPage {
    pub items: Vec<UsagePeriod>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// What one sandbox counted from one moment to another, whether it used it or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePeriod {
    pub sandbox_id: String,
    pub region_id: String,
    pub sandbox_class: String,
    /// Processors.
    pub cpu: u64,
    /// GiB.
    pub memory: u64,
    /// GiB.
    pub disk: u64,
    pub gpu: u64,
    pub started_at: Timestamp,
    /// Null while it goes on.
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
}

/// The body that gives an organization limits of its own. A negative number is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = CreateOrganizationRegionQuota)]
pub struct CreateRegionQuota(pub UpdateRegionQuota);

const REQUIRED_LIMITS: [&str; 4] = [
    "totalCpuQuota",
    "totalMemoryQuota",
    "totalDiskQuota",
    "totalGpuQuota",
];

impl FromBody for CreateRegionQuota {
    fn from_fields(fields: &mut BodyFields) -> Self {
        if !fields.is_given("sandboxClass") {
            fields.required::<String>("sandboxClass", "a string");
        }
        for name in REQUIRED_LIMITS {
            if !fields.is_given(name) {
                fields.required::<i64>(name, "an integer number");
            }
        }
        Self(UpdateRegionQuota::from_fields(fields))
    }
}

/// The body that sets limits of a whole organization. A field that is absent or null leaves its limit as it is; a negative
/// number takes the organization's own away, so that the server's holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateOrganizationQuota {
    /// Volumes that there may be.
    #[schema(value_type = Option<i64>)]
    pub volume_quota: LimitChange,
    /// Requests with credentials in a time. As the next five, `null` leaves it as it is, and -1 makes it the server's.
    #[schema(value_type = Option<i64>)]
    pub authenticated_rate_limit: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub authenticated_rate_limit_ttl_seconds: LimitChange,
    /// Creates and forks of sandboxes in a time.
    #[schema(value_type = Option<i64>)]
    pub sandbox_create_rate_limit: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub sandbox_create_rate_limit_ttl_seconds: LimitChange,
    /// Changes of what sandboxes do in a time.
    #[schema(value_type = Option<i64>)]
    pub sandbox_lifecycle_rate_limit: LimitChange,
    #[schema(value_type = Option<i64>)]
    pub sandbox_lifecycle_rate_limit_ttl_seconds: LimitChange,
    /// Fields of the contract that nothing is held by here; named so that they can be refused.
    #[serde(skip)]
    pub other_fields: Vec<&'static str>,
}

const OTHER_ORGANIZATION_FIELDS: [&str; 6] = [
    "maxCpuPerSandbox",
    "maxMemoryPerSandbox",
    "maxDiskPerSandbox",
    "snapshotQuota",
    "maxSnapshotSize",
    "snapshotDeactivationTimeoutMinutes",
];

impl FromBody for UpdateOrganizationQuota {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let mut limit = |name: &str| {
            if fields.is_given(name) {
                LimitChange::read(fields, name)
            } else {
                LimitChange::Keep
            }
        };
        Self {
            volume_quota: limit("volumeQuota"),
            authenticated_rate_limit: limit("authenticatedRateLimit"),
            authenticated_rate_limit_ttl_seconds: limit("authenticatedRateLimitTtlSeconds"),
            sandbox_create_rate_limit: limit("sandboxCreateRateLimit"),
            sandbox_create_rate_limit_ttl_seconds: limit("sandboxCreateRateLimitTtlSeconds"),
            sandbox_lifecycle_rate_limit: limit("sandboxLifecycleRateLimit"),
            sandbox_lifecycle_rate_limit_ttl_seconds: limit("sandboxLifecycleRateLimitTtlSeconds"),
            other_fields: OTHER_ORGANIZATION_FIELDS
                .into_iter()
                .filter(|name| fields.is_given(name))
                .collect(),
        }
    }
}

/// What becomes of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LimitChange {
    #[default]
    Keep,
    Remove,
    Set(u32),
}

impl LimitChange {
    fn read(fields: &mut BodyFields, name: &str) -> Self {
        if !fields.contains(name) {
            return Self::Keep;
        }
        match fields.integer(name).map(u32::try_from) {
            Some(Ok(limit)) => Self::Set(limit),
            None | Some(Err(_)) => Self::Remove,
        }
    }
}

const GPU_FIELDS: [&str; 4] = [
    "allowedGpuTypes",
    "maxCpuPerGpuSandbox",
    "maxMemoryPerGpuSandbox",
    "maxDiskPerGpuSandbox",
];

impl FromBody for UpdateRegionQuota {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let mut limit = |name| LimitChange::read(fields, name);
        Self {
            total_cpu_quota: limit("totalCpuQuota"),
            total_memory_quota: limit("totalMemoryQuota"),
            total_disk_quota: limit("totalDiskQuota"),
            total_gpu_quota: limit("totalGpuQuota"),
            total_sandbox_quota: limit("totalSandboxQuota"),
            max_cpu_per_sandbox: limit("maxCpuPerSandbox"),
            max_memory_per_sandbox: limit("maxMemoryPerSandbox"),
            max_disk_per_sandbox: limit("maxDiskPerSandbox"),
            max_disk_per_non_ephemeral_sandbox: limit("maxDiskPerNonEphemeralSandbox"),
            sandbox_class: fields.text("sandboxClass"),
            gpu_fields: GPU_FIELDS
                .into_iter()
                .filter(|name| fields.is_given(name))
                .collect(),
        }
    }
}
