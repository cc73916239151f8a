//! Hosts that sandboxes run on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RegionType;
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// How a runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunnerState {
    Initializing,
    Ready,
    Disabled,
    Decommissioned,
    Unresponsive,
}

impl RunnerState {
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(word.into()).ok()
    }
}

/// What the host of a runner can do, as it was tried when the runner started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunnerCapabilities {
    /// Of its processors, such as `x86_64`.
    pub architecture: String,
    /// Of `pause`, `reflink`, `networkPolicies`, `volumes`, `snapshots`, `builds`.
    pub can: Vec<String>,
}

/// Declares what is told of a runner, with more behind it.
macro_rules! runner {
    ($(#[$doc:meta])* $name:ident { $($(#[$extra_doc:meta])* $extra:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            pub id: String,
            /// Where it says that it is reached. Empty where it does not, as the next two: clients of 0.108 need a text.
            pub domain: String,
            pub api_url: String,
            pub proxy_url: String,
            /// Processors.
            pub cpu: f64,
            /// GiB.
            pub memory: f64,
            /// GiB, of the file system that sandboxes are kept on.
            pub disk: f64,
            pub gpu: u32,
            pub gpu_type: String,
            pub sandbox_class: String,
            /// Always `small`: clients of 0.108 need one of their words for sizes.
            pub class: String,
            /// Of the whole host, 0 to 100; absent until it was heard of, as all that begins with `current`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub current_cpu_usage_percentage: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub current_memory_usage_percentage: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub current_disk_usage_percentage: Option<f64>,
            /// What sandboxes may use of it together.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub current_allocated_cpu: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none", rename = "currentAllocatedMemoryGiB")]
            pub current_allocated_memory_gib: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none", rename = "currentAllocatedDiskGiB")]
            pub current_allocated_disk_gib: Option<f64>,
            /// Images that sandboxes can be started from.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub current_snapshot_count: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub current_started_sandboxes: Option<u64>,
            /// 0 for a host that is full to 100 for one that is free.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub availability_score: Option<u32>,
            /// Region id.
            pub region: String,
            pub name: String,
            pub state: RunnerState,
            /// When it was last heard of.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub last_checked: Option<Timestamp>,
            /// Whether it takes no new sandboxes.
            pub unschedulable: bool,
            /// Whether it is being emptied.
            pub draining: bool,
            pub tags: Vec<String>,
            pub created_at: Timestamp,
            pub updated_at: Timestamp,
            /// The same as `apiVersion`.
            pub version: String,
            pub api_version: String,
            pub runner_class: String,
            /// Version of its program.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub app_version: Option<String>,
            /// What it last said that does not work.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub error_reason: Option<String>,
            /// Absent until it has said so.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub capabilities: Option<RunnerCapabilities>,
            $($(#[$extra_doc])* pub $extra: $kind,)*
        }
    };
}

runner! {
    /// A runner.
    Runner {}
}

runner! {
    /// A runner, for the administrator, for itself, and for those who stand before its region.
    RunnerFull {
        /// Always empty: keys are shown once, when they are made, and only a hash is kept.
        api_key: String,
        region_type: RegionType,
    }
}

impl RunnerFull {
    /// A runner with the type of its region.
    pub fn new(runner: Runner, region_type: RegionType) -> Self {
        Self {
            id: runner.id,
            domain: runner.domain,
            api_url: runner.api_url,
            proxy_url: runner.proxy_url,
            cpu: runner.cpu,
            memory: runner.memory,
            disk: runner.disk,
            gpu: runner.gpu,
            gpu_type: runner.gpu_type,
            sandbox_class: runner.sandbox_class,
            class: runner.class,
            current_cpu_usage_percentage: runner.current_cpu_usage_percentage,
            current_memory_usage_percentage: runner.current_memory_usage_percentage,
            current_disk_usage_percentage: runner.current_disk_usage_percentage,
            current_allocated_cpu: runner.current_allocated_cpu,
            current_allocated_memory_gib: runner.current_allocated_memory_gib,
            current_allocated_disk_gib: runner.current_allocated_disk_gib,
            current_snapshot_count: runner.current_snapshot_count,
            current_started_sandboxes: runner.current_started_sandboxes,
            availability_score: runner.availability_score,
            region: runner.region,
            name: runner.name,
            state: runner.state,
            last_checked: runner.last_checked,
            unschedulable: runner.unschedulable,
            draining: runner.draining,
            tags: runner.tags,
            created_at: runner.created_at,
            updated_at: runner.updated_at,
            version: runner.version,
            api_version: runner.api_version,
            runner_class: runner.runner_class,
            app_version: runner.app_version,
            error_reason: runner.error_reason,
            capabilities: runner.capabilities,
            api_key: String::new(),
            region_type,
        }
    }
}

/// That a runner has an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerSnapshot {
    pub runner_snapshot_id: String,
    pub runner_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_domain: Option<String>,
}

/// The body that registers a runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateRunner {
    /// Id of a region of the organization.
    pub region_id: String,
    /// 2 to 255 letters, digits, `_`, `.` and `-`; one of a kind in its region.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// `container`, which it also is without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_class: Option<String>,
}

impl FromBody for CreateRunner {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            region_id: fields.required("regionId", "a string"),
            name: fields.required("name", "a string"),
            tags: fields.optional("tags", "an array of strings"),
            sandbox_class: fields.text("sandboxClass"),
        }
    }
}

/// The body with which the administrator registers a runner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminCreateRunner {
    /// Id of any region.
    pub region_id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The key that the runner will come with: 32 to 512 characters without spaces.
    pub api_key: String,
    /// `2`: runners ask for their work.
    pub api_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "memoryGiB")]
    pub memory_gib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "diskGiB")]
    pub disk_gib: Option<f64>,
}

impl FromBody for AdminCreateRunner {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            region_id: fields.required("regionId", "a string"),
            name: fields.required("name", "a string"),
            tags: fields.optional("tags", "an array of strings"),
            api_key: fields.required("apiKey", "a string"),
            api_version: fields.required("apiVersion", "a string"),
            domain: fields.text("domain"),
            api_url: fields.text("apiUrl"),
            proxy_url: fields.text("proxyUrl"),
            cpu: fields.amount("cpu"),
            memory_gib: fields.amount("memoryGiB"),
            disk_gib: fields.amount("diskGiB"),
        }
    }
}

/// A registered runner. Its key is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateRunnerResponse {
    pub id: String,
    pub api_key: String,
}

/// The body that closes a runner to new sandboxes, or opens it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateRunnerScheduling {
    pub unschedulable: bool,
}

impl FromBody for UpdateRunnerScheduling {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            unschedulable: fields.required("unschedulable", "a boolean value"),
        }
    }
}

/// The body that begins to empty a runner, or takes it back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateRunnerDraining {
    pub draining: bool,
}

impl FromBody for UpdateRunnerDraining {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            draining: fields.required("draining", "a boolean value"),
        }
    }
}

/// What a runner says of its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerHealthMetrics {
    pub current_cpu_load_average: f64,
    pub current_cpu_usage_percentage: f64,
    pub current_memory_usage_percentage: f64,
    pub current_disk_usage_percentage: f64,
    pub current_allocated_cpu: f64,
    #[serde(rename = "currentAllocatedMemoryGiB")]
    pub current_allocated_memory_gib: f64,
    #[serde(rename = "currentAllocatedDiskGiB")]
    pub current_allocated_disk_gib: f64,
    pub current_snapshot_count: f64,
    pub current_started_sandboxes: f64,
    pub cpu: f64,
    #[serde(rename = "memoryGiB")]
    pub memory_gib: f64,
    #[serde(rename = "diskGiB")]
    pub disk_gib: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<f64>,
}

/// Whether one thing on a runner works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerServiceHealth {
    pub service_name: String,
    pub healthy: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
}

/// The body with which a runner says that it is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerHealthcheck {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<RunnerHealthMetrics>,
    /// What `metrics` names beside its numbers.
    #[serde(skip)]
    pub gpu_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_health: Option<Vec<RunnerServiceHealth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// Version of the runner's program.
    pub app_version: String,
}

/// Kinds of processors for graphics, which stand among the numbers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    gpu_type: Option<String>,
}

impl FromBody for RunnerHealthcheck {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let metrics: Option<serde_json::Value> = fields.optional("metrics", "an object");
        let named = metrics
            .clone()
            .and_then(|value| serde_json::from_value::<Named>(value).ok());
        let metrics = metrics.and_then(|value| fields.read("metrics", value));
        Self {
            metrics,
            gpu_type: named.and_then(|named| named.gpu_type),
            service_health: fields.optional(
                "serviceHealth",
                "an array of objects with serviceName and healthy",
            ),
            domain: fields.text("domain"),
            proxy_url: fields.text("proxyUrl"),
            api_url: fields.text("apiUrl"),
            app_version: fields.required("appVersion", "a string"),
        }
    }
}
