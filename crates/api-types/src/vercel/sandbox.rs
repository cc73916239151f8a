//! Sandboxes and their sessions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::drive::Mount;
use super::network::{PolicyAnswer, PolicyRequest};
use crate::body::{BodyFields, FromBody};

/// A sandbox by its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    pub name: String,
    pub persistent: bool,
    pub created_at: i64,
    pub updated_at: i64,
    pub status_updated_at: i64,
    pub current_session_id: String,
    pub status: String,
    pub region: String,
    pub vcpus: u32,
    /// MiB.
    pub memory: u64,
    pub runtime: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub timeout: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_snapshot_id: Option<String>,
    pub network_policy: PolicyAnswer,
    /// Of the sessions that are over, as far as it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_duration_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_active_cpu_duration_ms: Option<u64>,
    /// What they were sent, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ingress_bytes: Option<u64>,
    /// What they have sent, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_egress_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Milliseconds; 0 is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_expiration: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last_snapshots: Option<KeepLastSnapshots>,
    /// By the paths where they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Mount>,
}

/// The rule that only the newest snapshots stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeepLastSnapshots {
    pub count: i64,
    /// Milliseconds, of those that stay; 0 is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_evicted: Option<bool>,
}

/// The same as clients ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepLastRequest {
    Set(KeepLastSnapshots),
    /// There is to be none.
    Clear,
}

/// What runs of a sandbox between a start and a stop. Clients before 2 call it the sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub id: String,
    pub source_sandbox_name: String,
    pub project_id: String,
    /// MiB.
    pub memory: u64,
    pub vcpus: u32,
    pub region: String,
    pub runtime: String,
    pub timeout: u64,
    pub status: String,
    pub requested_at: i64,
    pub started_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_snapshot_id: Option<String>,
    pub cwd: String,
    pub interactive_port: u16,
    pub network_policy: PolicyAnswer,
    /// Once it is over, if it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_cpu_duration_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_transfer: Option<NetworkTransfer>,
}

/// Bytes that a session was sent, and has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkTransfer {
    pub ingress: u64,
    pub egress: u64,
}

/// Where a port is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub url: String,
    pub subdomain: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxAnswer {
    pub sandbox: Sandbox,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionAnswer {
    pub session: Session,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
}

/// The same as clients before 2 read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OlderAnswer {
    pub sandbox: Session,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pagination {
    pub count: usize,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxPage {
    pub sandboxes: Vec<Sandbox>,
    pub pagination: Pagination,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    pub pagination: Pagination,
}

/// Where a program gets a terminal. The token is shown in the query of the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractiveAnswer {
    pub url: String,
    pub token: String,
}

/// Pages of clients before 2 are found by times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OlderPagination {
    pub count: usize,
    pub next: Option<i64>,
    pub prev: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OlderPage {
    pub sandboxes: Vec<Session>,
    pub pagination: OlderPagination,
}

/// What a sandbox begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    #[serde(rename = "type")]
    pub kind: String,
    pub snapshot_id: Option<String>,
    pub url: Option<String>,
    pub depth: Option<u32>,
    pub revision: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// `POST /v{1,2,3,4}/sandboxes` and, without source and image, `POST …/fork` and `PATCH …/{name}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateSandbox {
    pub project: Option<String>,
    pub name: Option<String>,
    pub ports: Option<Vec<i64>>,
    pub source: Option<Source>,
    pub timeout: Option<i64>,
    pub vcpus: Option<i64>,
    pub runtime: Option<String>,
    pub image: Option<String>,
    pub persistent: Option<bool>,
    pub network_policy: Option<PolicyRequest>,
    pub env: Option<BTreeMap<String, String>>,
    pub tags: Option<BTreeMap<String, String>>,
    pub region: Option<String>,
    /// Milliseconds.
    pub snapshot_expiration: Option<i64>,
    pub keep_last_snapshots: Option<KeepLastRequest>,
    pub mounts: Option<BTreeMap<String, Mount>>,
    /// Fields that ask for what this server does not have.
    pub unsupported: Vec<String>,
}

/// Megabytes of memory that go with each processor.
const MEMORY_MB_EACH: i64 = 2048;

/// Fields that these clients know and this server does not have, with the values that ask for nothing.
const UNSUPPORTED: [&str; 3] = ["networkId", "failoverRegions", "currentSnapshotId"];

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl FromBody for CreateSandbox {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let resources: Map<String, Value> = fields
            .optional("resources", "an object")
            .unwrap_or_default();
        let number = |name| {
            let given = resources.get(name).filter(|value| !value.is_null());
            given.map(|value| value.as_i64().unwrap_or(-1))
        };
        let memory = number("memory");
        // Memory alone says how many there are to be; what does not is refused with the rest.
        let of_memory = |memory: i64| {
            if memory % MEMORY_MB_EACH == 0 {
                memory / MEMORY_MB_EACH
            } else {
                -1
            }
        };
        let vcpus = number("vcpus").or_else(|| memory.map(of_memory));
        let unsupported = UNSUPPORTED.into_iter().filter(|name| {
            let value = fields.optional::<Value>(name, "a value");
            value.is_some_and(|value| !asks_for_nothing(&value))
        });
        let mut unsupported: Vec<String> = unsupported.map(str::to_owned).collect();
        if let (Some(memory), Some(vcpus)) = (memory, vcpus)
            && Some(memory) != vcpus.checked_mul(MEMORY_MB_EACH)
        {
            unsupported.push("resources.memory other than 2048 MB for each of vcpus".to_owned());
        }
        let keep_name = "keepLastSnapshots";
        let clears = fields.contains(keep_name) && !fields.is_given(keep_name);
        let keep = fields.optional(keep_name, "an object with a count");
        Self {
            snapshot_expiration: fields.integer("snapshotExpiration"),
            keep_last_snapshots: if clears {
                Some(KeepLastRequest::Clear)
            } else {
                keep.map(KeepLastRequest::Set)
            },
            mounts: fields.optional("mounts", "an object of drives with their modes"),
            project: fields.text("projectId"),
            name: fields.text("name"),
            ports: fields.optional("ports", "a list of numbers"),
            source: fields.optional("source", "an object with a type"),
            timeout: fields.integer("timeout"),
            vcpus,
            runtime: fields.text("runtime"),
            image: fields.text("image"),
            persistent: fields.boolean("persistent"),
            network_policy: fields.optional("networkPolicy", "a network policy"),
            env: fields.optional("env", "an object of strings"),
            tags: fields.optional("tags", "an object of strings"),
            region: fields.text("region"),
            unsupported,
        }
    }
}

/// `POST …/extend-timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendTimeout {
    /// Milliseconds.
    pub duration: i64,
}

impl FromBody for ExtendTimeout {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let duration = fields.integer("duration");
        if duration.is_none() {
            let _: i64 = fields.required("duration", "a number of milliseconds");
        }
        Self {
            duration: duration.unwrap_or_default(),
        }
    }
}

/// `POST …/snapshot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MakeSnapshot {
    /// Milliseconds that it is to be kept; none or 0 is for ever.
    pub expiration: Option<i64>,
}

impl FromBody for MakeSnapshot {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            expiration: fields.integer("expiration"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_this_server_does_not_have_is_named_unless_it_asks_for_nothing() {
        let read = |body: Value| CreateSandbox::from_json(body).unwrap().unsupported;
        assert_eq!(
            read(json!({"failoverRegions": [], "networkId": null})),
            Vec::<String>::new()
        );
        assert_eq!(
            read(json!({"currentSnapshotId": "s", "failoverRegions": ["a"], "networkId": "n"})),
            ["networkId", "failoverRegions", "currentSnapshotId"]
        );
        assert_eq!(
            read(json!({"resources": {"vcpus": 2, "memory": 4096}})),
            Vec::<String>::new()
        );
        assert_eq!(
            read(json!({"resources": {"vcpus": 2, "memory": 1}})).len(),
            1
        );
    }

    #[test]
    fn a_rule_for_snapshots_is_set_cleared_or_not_spoken_of() {
        let read = |body: Value| CreateSandbox::from_json(body).unwrap().keep_last_snapshots;
        assert_eq!(read(json!({})), None);
        let clear = read(json!({"keepLastSnapshots": null}));
        assert_eq!(clear, Some(KeepLastRequest::Clear));
        let set = read(json!({"keepLastSnapshots": {"count": 2, "deleteEvicted": false}}));
        let wanted = KeepLastSnapshots {
            count: 2,
            expiration: None,
            delete_evicted: Some(false),
        };
        assert_eq!(set, Some(KeepLastRequest::Set(wanted)));
        let wrong = CreateSandbox::from_json(json!({"keepLastSnapshots": {"count": "x"}}));
        assert_eq!(wrong.unwrap_err().len(), 1);
    }

    #[test]
    fn wrong_kinds_are_refused_by_name() {
        let wrong = json!({"ports": "x", "timeout": "soon", "source": {}, "tags": {"a": 1}});
        let reasons = CreateSandbox::from_json(wrong).unwrap_err();
        assert_eq!(reasons.len(), 4, "{reasons:?}");
    }
}
