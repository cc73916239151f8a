//! What sandboxes were called by clients up to 0.20.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CreateBuildInfo, Sandbox, SandboxVolume};
use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// A sandbox in the old words. Its id is the sandbox's name: those clients choose the id themselves and go on
/// with their own, whatever is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    #[serde(flatten)]
    pub sandbox: Sandbox,
    /// The snapshot's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The backup's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_state: Option<String>,
    pub info: WorkspaceInfo,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SandboxInfo)]
pub struct WorkspaceInfo {
    pub created: String,
    pub name: String,
    /// JSON as a text: clients before 0.17 take the state from it.
    pub provider_metadata: String,
}

/// What is inside [`WorkspaceInfo::provider_metadata`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProviderMetadata<'a> {
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_reason: Option<&'a str>,
    snapshot_state: Option<&'a str>,
    node_domain: &'a str,
    region: &'a str,
    class: &'static str,
    updated_at: Option<Timestamp>,
    auto_stop_interval: Option<i64>,
    resources: ProviderResources,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct ProviderResources {
    cpu: u32,
    gpu: u32,
    memory: u32,
    disk: u32,
}

impl Workspace {
    /// `node_domain` is the host below which ports have names; clients before 0.17 make the addresses themselves.
    pub fn new(mut sandbox: Sandbox, node_domain: &str) -> Self {
        let state = sandbox.state.map(super::era::workspace_state);
        let created = sandbox.created_at.map(|at| at.to_string());
        let metadata = ProviderMetadata {
            state,
            error_reason: sandbox.error_reason.as_deref(),
            snapshot_state: sandbox.backup_state.as_deref(),
            node_domain,
            region: &sandbox.target,
            class: "small",
            updated_at: sandbox.updated_at,
            auto_stop_interval: sandbox.auto_stop_interval,
            resources: ProviderResources {
                cpu: sandbox.cpu,
                gpu: sandbox.gpu,
                memory: sandbox.memory,
                disk: sandbox.disk,
            },
        };
        let info = WorkspaceInfo {
            created: created.unwrap_or_default(),
            name: sandbox.name.clone(),
            // Texts and numbers only, which are always JSON.
            provider_metadata: serde_json::to_string(&metadata).unwrap_or_default(),
        };
        sandbox.id.clone_from(&sandbox.name);
        Self {
            // One that is built has none, and clients of the time want a text.
            image: Some(sandbox.snapshot.clone().unwrap_or_default()),
            snapshot_state: sandbox.backup_state.clone(),
            info,
            sandbox,
        }
    }
}

/// The body that makes a workspace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateWorkspace {
    /// What the client will call it by; becomes the sandbox's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The same as the id, where both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of a snapshot, or the reference of an image, which is pulled and becomes the snapshot of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[schema(required = false)]
    pub env: BTreeMap<String, String>,
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Any region stands for this server's: the clients have a fixed list of three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<i64>,
    /// GiB below 512, MiB from there on: clients of that age disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// As `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_archive_interval: Option<i64>,
    #[schema(required = false)]
    pub volumes: Vec<SandboxVolume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<CreateBuildInfo>,
}

impl FromBody for CreateWorkspace {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            id: fields.text("id"),
            name: fields.text("name"),
            image: fields.text("image"),
            user: fields.text("user"),
            env: fields
                .optional("env", "an object of strings")
                .unwrap_or_default(),
            labels: fields
                .optional("labels", "an object of strings")
                .unwrap_or_default(),
            public: fields.boolean("public"),
            class: fields.text("class"),
            target: fields.text("target"),
            cpu: fields.integer("cpu"),
            gpu: fields.integer("gpu"),
            memory: fields.integer("memory"),
            disk: fields.integer("disk"),
            auto_stop_interval: fields.integer("autoStopInterval"),
            auto_archive_interval: fields.integer("autoArchiveInterval"),
            volumes: fields
                .optional(
                    "volumes",
                    "an array of objects with the strings volumeId and mountPath",
                )
                .unwrap_or_default(),
            build_info: fields.optional("buildInfo", "an object with the string dockerfileContent"),
        }
    }
}
