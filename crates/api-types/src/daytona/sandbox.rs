//! The sandbox object and its lists.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

macro_rules! word_enum {
    ($(#[doc = $doc:literal])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant,)*
        }

        // By hand: the derive reads no words that come out of a macro, and would tell the names of the variants.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let lines: &[&str] = &[$($doc.trim()),*];
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description((!lines.is_empty()).then(|| lines.join("\n")))
                    .enum_values(Some([$($word),*]))
                    .into()
            }
        }

        impl ToSchema for $name {}

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value that clients call `word`.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}
pub(crate) use word_enum;

word_enum! {
    /// What a sandbox is doing, in the words of the newest clients.
    SandboxState {
        Creating = "creating",
        Restoring = "restoring",
        Destroyed = "destroyed",
        Destroying = "destroying",
        Started = "started",
        Stopped = "stopped",
        Starting = "starting",
        Stopping = "stopping",
        Error = "error",
        BuildFailed = "build_failed",
        PendingBuild = "pending_build",
        BuildingSnapshot = "building_snapshot",
        Unknown = "unknown",
        PullingSnapshot = "pulling_snapshot",
        Archived = "archived",
        Archiving = "archiving",
        Resizing = "resizing",
        Snapshotting = "snapshotting",
        Forking = "forking",
        Pausing = "pausing",
        Paused = "paused",
        Resuming = "resuming",
    }
}

word_enum! {
    /// What a sandbox should be.
    SandboxDesiredState {
        Destroyed = "destroyed",
        Started = "started",
        Stopped = "stopped",
        Resized = "resized",
        Archived = "archived",
        Paused = "paused",
    }
}

/// A sandbox. Newest Python clients refuse the whole answer when one of the fields that are not
/// optional here is missing or null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the contract has them as separate fields"
)]
pub struct Sandbox {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The user that processes inside run as.
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub public: bool,
    pub network_block_all: bool,
    #[serde(default)]
    #[schema(required = true)]
    pub kvm: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_allow_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_allow_list: Option<String>,
    /// The proxy that programs are told to use, as it was written. In answers about one sandbox only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_proxy_url: Option<String>,
    /// Region id.
    pub target: String,
    /// Whole cores.
    pub cpu: u32,
    pub gpu: u32,
    #[serde(default)]
    pub spot: bool,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SandboxState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<SandboxDesiredState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// What `error_reason` says, as a word for programs, such as `host_disk_full`. Our own field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(default)]
    pub recoverable: bool,
    /// `Completed` for a sandbox in the archive, `InProgress` for one on the way there, else `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_state: Option<String>,
    /// Minutes; 0 = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_interval: Option<i64>,
    /// Idle minutes until it is paused; 0 = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_pause_interval: Option<i64>,
    /// Minutes; 0 = the longest allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_archive_interval: Option<i64>,
    /// Minutes; negative = never, 0 = as soon as it stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_delete_interval: Option<i64>,
    /// Present only when a time to live is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_destroy_at: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Vec<super::SandboxVolume>)]
    pub volumes: Vec<super::SandboxVolume>,
    /// Only of a sandbox whose image was built for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::BuildInfo>)]
    pub build_info: Option<super::BuildInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    /// The sandbox beside which this one was made, and with which it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_sandbox_id: Option<String>,
    /// Base of the toolbox; clients append `/{id}/...`.
    pub toolbox_proxy_url: String,
}

/// A sandbox in the cursor list.
///
/// There is no `env` on purpose: TypeScript clients tell a full object from a list item by that key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the contract has them as separate fields"
)]
pub struct SandboxListItem {
    pub id: String,
    pub organization_id: String,
    pub name: String,
    /// Region id.
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SandboxState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<SandboxDesiredState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// What `error_reason` says, as a word for programs, such as `host_disk_full`. Our own field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(default)]
    pub recoverable: bool,
    pub public: bool,
    pub network_block_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_allow_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_allow_list: Option<String>,
    pub cpu: u32,
    pub gpu: u32,
    #[serde(default)]
    pub spot: bool,
    pub memory: u32,
    pub disk: u32,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_pause_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_archive_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_delete_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_destroy_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon_version: Option<String>,
    pub toolbox_proxy_url: String,
}

impl From<Sandbox> for SandboxListItem {
    fn from(sandbox: Sandbox) -> Self {
        Self {
            id: sandbox.id,
            organization_id: sandbox.organization_id,
            name: sandbox.name,
            target: sandbox.target,
            runner_id: sandbox.runner_id,
            sandbox_class: sandbox.sandbox_class,
            state: sandbox.state,
            desired_state: sandbox.desired_state,
            snapshot: sandbox.snapshot,
            user: sandbox.user,
            error_reason: sandbox.error_reason,
            error_code: sandbox.error_code,
            recoverable: sandbox.recoverable,
            public: sandbox.public,
            network_block_all: sandbox.network_block_all,
            network_allow_list: sandbox.network_allow_list,
            domain_allow_list: sandbox.domain_allow_list,
            cpu: sandbox.cpu,
            gpu: sandbox.gpu,
            spot: sandbox.spot,
            memory: sandbox.memory,
            disk: sandbox.disk,
            labels: sandbox.labels,
            backup_state: sandbox.backup_state,
            auto_stop_interval: sandbox.auto_stop_interval,
            auto_pause_interval: sandbox.auto_pause_interval,
            auto_archive_interval: sandbox.auto_archive_interval,
            auto_delete_interval: sandbox.auto_delete_interval,
            auto_destroy_at: sandbox.auto_destroy_at,
            created_at: sandbox.created_at,
            updated_at: sandbox.updated_at,
            last_activity_at: sandbox.last_activity_at,
            daemon_version: sandbox.daemon_version,
            toolbox_proxy_url: sandbox.toolbox_proxy_url,
        }
    }
}

/// One page of the cursor list. `next_cursor` is written as null at the end, never left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListSandboxesResponse)]
pub struct SandboxesList {
    pub items: Vec<SandboxListItem>,
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// One page of the list by page numbers, of clients before 0.180.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaginatedSandboxesDeprecated)]
pub struct SandboxPage {
    pub items: Vec<Sandbox>,
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// All labels of a sandbox: the body that replaces them and the answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxLabels {
    pub labels: BTreeMap<String, String>,
}

impl crate::body::FromBody for SandboxLabels {
    fn from_fields(fields: &mut crate::body::BodyFields) -> Self {
        Self {
            labels: fields.required("labels", "an object of strings"),
        }
    }
}

/// The body that says that a sandbox is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateLastActivity {
    /// What it is used for, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity_type: Option<String>,
}

impl crate::body::FromBody for UpdateLastActivity {
    fn from_fields(fields: &mut crate::body::BodyFields) -> Self {
        Self {
            activity_type: fields.text("activityType"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolboxProxyUrl {
    pub url: String,
}

/// The sizes that a sandbox is to get; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResizeSandbox {
    /// Whole cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// GiB; only of a stopped sandbox, and never less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<i64>,
}

impl crate::body::FromBody for ResizeSandbox {
    fn from_fields(fields: &mut crate::body::BodyFields) -> Self {
        Self {
            cpu: fields.integer("cpu"),
            memory: fields.integer("memory"),
            disk: fields.integer("disk"),
        }
    }
}

/// The sandbox that a fork becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForkSandbox {
    /// Its id when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl crate::body::FromBody for ForkSandbox {
    fn from_fields(fields: &mut crate::body::BodyFields) -> Self {
        Self {
            name: fields.text("name"),
        }
    }
}

/// The snapshot that a sandbox's files become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSandboxSnapshot {
    pub name: String,
    /// Only `false`: memory is of no class here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_memory: Option<bool>,
}

impl crate::body::FromBody for CreateSandboxSnapshot {
    fn from_fields(fields: &mut crate::body::BodyFields) -> Self {
        Self {
            name: fields.required("name", "a string"),
            include_memory: fields.boolean("includeMemory"),
        }
    }
}

/// Where a port of a sandbox is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortPreviewUrl {
    pub sandbox_id: String,
    pub url: String,
    /// For visitors without an API key, in the header `X-Daytona-Preview-Token` or the query
    /// `DAYTONA_SANDBOX_AUTH_KEY`.
    pub token: String,
}

/// Where a port of a sandbox is reached without any other credential, for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedPortPreviewUrl {
    pub sandbox_id: String,
    pub port: u16,
    /// Part of the host name of the URL.
    pub token: String,
    pub url: String,
}
