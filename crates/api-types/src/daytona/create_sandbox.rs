//! What a client asks for when it makes a sandbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::body::{BodyFields, FromBody};

/// The body of a create. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateSandbox {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Id or name of a snapshot; the default snapshot when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// In place of a snapshot, as clients up to 0.20 have it: the name of one, or the reference of an image, which is
    /// pulled and becomes the snapshot of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_block_all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kvm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_allow_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_allow_list: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_proxy_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otel_endpoint_override: Option<String>,
    /// Id or name of a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<i64>,
    /// One value or a list in order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gpu_type: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot: Option<bool>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_stop_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_pause_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_archive_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_delete_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_minutes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub volumes: Vec<SandboxVolume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_info: Option<CreateBuildInfo>,
    /// Id or name of the sandbox to be placed next to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked_sandbox: Option<String>,
    /// Each entry is one pair: name of a variable, name of a secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub secrets: Vec<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxVolume {
    pub volume_id: String,
    pub mount_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateBuildInfo {
    pub dockerfile_content: String,
    #[serde(default)]
    pub context_hashes: Vec<String>,
}

/// What an image was built of. Clients want the fields that are not optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// Told where one sandbox is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile_content: Option<String>,
    /// Told where one sandbox is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_hashes: Option<Vec<String>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Names the built image: the same for all that was built of the same.
    pub snapshot_ref: String,
}

/// One text or a list of texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A field that is one text or a list of texts.
pub(super) fn one_or_many(fields: &mut BodyFields, name: &str) -> Vec<String> {
    match fields.optional(name, "a string or an array of strings") {
        None => Vec::new(),
        Some(OneOrMany::One(text)) => vec![text],
        Some(OneOrMany::Many(texts)) => texts,
    }
}

impl FromBody for CreateSandbox {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            name: fields.text("name"),
            snapshot: fields.text("snapshot"),
            image: fields.text("image"),
            user: fields.text("user"),
            env: fields
                .optional("env", "an object of strings")
                .unwrap_or_default(),
            labels: fields
                .optional("labels", "an object of strings")
                .unwrap_or_default(),
            public: fields.boolean("public"),
            network_block_all: fields.boolean("networkBlockAll"),
            kvm: fields.boolean("kvm"),
            network_allow_list: fields.text("networkAllowList"),
            domain_allow_list: fields.text("domainAllowList"),
            outbound_proxy_url: fields.text("outboundProxyUrl"),
            otel_endpoint_override: fields.text("otelEndpointOverride"),
            target: fields.text("target"),
            cpu: fields.integer("cpu"),
            gpu: fields.integer("gpu"),
            gpu_type: one_or_many(fields, "gpuType"),
            spot: fields.boolean("spot"),
            memory: fields.integer("memory"),
            disk: fields.integer("disk"),
            auto_stop_interval: fields.integer("autoStopInterval"),
            auto_pause_interval: fields.integer("autoPauseInterval"),
            auto_archive_interval: fields.integer("autoArchiveInterval"),
            auto_delete_interval: fields.integer("autoDeleteInterval"),
            ttl_minutes: fields.integer("ttlMinutes"),
            queue_timeout: fields.integer("queueTimeout"),
            volumes: fields
                .optional(
                    "volumes",
                    "an array of objects with the strings volumeId and mountPath",
                )
                .unwrap_or_default(),
            build_info: fields.optional("buildInfo", "an object with the string dockerfileContent"),
            linked_sandbox: fields.text("linkedSandbox"),
            secrets: fields
                .optional("secrets", "an array of objects of strings")
                .unwrap_or_default(),
        }
    }
}
