//! From what a caller asks for to what is made: every field checked, every problem named.

use std::collections::BTreeMap;

use crate::{Intervals, Reason, Snapshot, bounds, interval, text};

/// A create request as the caller wrote it. Absent fields are None; nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewSandbox {
    pub name: Option<String>,
    /// Id or name of a snapshot.
    pub snapshot: Option<String>,
    pub user: Option<String>,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub is_public: Option<bool>,
    pub target: Option<String>,
    pub class: Option<String>,
    pub auto_stop_interval: Option<i64>,
    pub auto_pause_interval: Option<i64>,
    pub auto_archive_interval: Option<i64>,
    pub auto_delete_interval: Option<i64>,
    pub ttl_minutes: Option<i64>,
    pub queue_timeout: Option<i64>,
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub disk: Option<i64>,
    pub gpu: Option<i64>,
    pub gpu_types: Vec<String>,
    pub spot: Option<bool>,
    pub kvm: Option<bool>,
    pub network_block_all: Option<bool>,
    pub network_allow_list: Option<String>,
    pub domain_allow_list: Option<String>,
    pub outbound_proxy_url: Option<String>,
    pub otel_endpoint_override: Option<String>,
    pub linked_sandbox: Option<String>,
    /// How many volumes were asked for.
    pub volume_count: usize,
    /// How many secrets were asked for.
    pub secret_count: usize,
    pub has_build_info: bool,
}

/// What the check needs to know about the world.
#[derive(Debug, Clone, Copy)]
pub struct CreateFacts<'a> {
    /// The id that the sandbox will get.
    pub id: &'a str,
    pub region_id: &'a str,
    pub region_name: &'a str,
    /// The snapshot that the request resolves to; None where there is none.
    pub snapshot: Option<&'a Snapshot>,
    /// The snapshot's name or id as asked for, or the default one's name.
    pub snapshot_asked: &'a str,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatePlan {
    pub name: String,
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub is_public: bool,
    pub intervals: Intervals,
}
