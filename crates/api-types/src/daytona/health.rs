//! Probes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    pub version: String,
}

/// Whether all parts work. `info` holds those that do, `error` those that do not, `details` both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// `ok` or `error`.
    pub status: String,
    pub info: BTreeMap<String, ComponentHealth>,
    pub error: BTreeMap<String, ComponentHealth>,
    pub details: BTreeMap<String, ComponentHealth>,
    /// Only for a service credential of the role `health-check`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerNumbers>,
}

/// How the server is, for whoever watches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerNumbers {
    pub version: String,
    /// How many sandboxes are in each state.
    pub sandboxes: BTreeMap<String, u64>,
    /// Endpoints of webhooks that something waits for.
    pub webhook_queues: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComponentHealth {
    /// `up` or `down`.
    pub status: String,
}

impl Readiness {
    pub fn of(components: impl IntoIterator<Item = (&'static str, bool)>) -> Self {
        let mut readiness = Self {
            status: "ok".to_owned(),
            info: BTreeMap::new(),
            error: BTreeMap::new(),
            details: BTreeMap::new(),
            server: None,
        };
        for (name, is_up) in components {
            let health = ComponentHealth {
                status: if is_up { "up" } else { "down" }.to_owned(),
            };
            readiness.details.insert(name.to_owned(), health.clone());
            if is_up {
                readiness.info.insert(name.to_owned(), health);
            } else {
                "error".clone_into(&mut readiness.status);
                readiness.error.insert(name.to_owned(), health);
            }
        }
        readiness
    }

    pub fn is_ready(&self) -> bool {
        self.error.is_empty()
    }
}
