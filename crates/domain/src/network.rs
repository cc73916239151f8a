//! What a sandbox may reach, beyond what every sandbox is kept from anyway.
//!
//! ```text
//!   written by the caller        kept, ordered, enforced
//!   NetworkSettings ── plan ──>  NetworkPolicy
//! ```
//!
//! A policy only ever narrows: a network that the operator keeps closed stays closed when a list names it.

mod domain;
mod ipv4;
mod proxy;
mod public;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::Reason;

pub use domain::{DomainList, DomainParseError, DomainPattern, HostName};
pub use ipv4::{Ipv4Network, NetworkParseError};
pub use proxy::{OutboundProxy, ProxyParseError, SealedProxy, plan_proxy, proxy_variables};
pub use public::is_public;

/// Entries of each list.
pub const ALLOWED_MAX: usize = 10;

/// Longest part of a wrong entry that is shown to its writer, in characters.
const SHOWN_MAX: usize = 60;

/// A policy as the caller wrote it. Absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    pub block_all: Option<bool>,
    /// Comma-separated networks, such as `10.0.0.0/8`.
    pub allow_list: Option<String>,
    /// Comma-separated host names; `*.` in front stands for everything below.
    pub domain_allow_list: Option<String>,
}

/// What a sandbox may reach. The default is everything that any sandbox may.
///
/// With an entry in either list, all that no entry names is closed. Entries are in canonical form and there is none
/// twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPolicy {
    /// Nothing at all, whatever the lists say.
    pub block_all: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_networks: Vec<Ipv4Network>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_domains: Vec<DomainPattern>,
}

impl NetworkPolicy {
    /// Whether it narrows nothing. A list that names all addresses is no narrowing.
    pub fn is_open(&self) -> bool {
        let has_no_list = self.allow_networks.is_empty() && self.allow_domains.is_empty();
        !self.block_all && (has_no_list || self.allow_networks.contains(&Ipv4Network::EVERYTHING))
    }

    /// The list of networks as callers write it; None for an empty one.
    pub fn networks_text(&self) -> Option<String> {
        listed(&self.allow_networks)
    }

    /// The list of names as callers write it; None for an empty one.
    pub fn domains_text(&self) -> Option<String> {
        listed(&self.allow_domains)
    }
}

fn listed<T: ToString>(entries: &[T]) -> Option<String> {
    let texts: Vec<String> = entries.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

/// The policy of a new sandbox. With reasons against it, what comes back means nothing.
pub fn plan(settings: &NetworkSettings, reasons: &mut Vec<Reason>) -> NetworkPolicy {
    merge(&NetworkPolicy::default(), settings, reasons)
}

/// The policy that a change makes of the current one. With reasons against it, what comes back means nothing.
pub fn plan_change(
    current: &NetworkPolicy,
    settings: &NetworkSettings,
    reasons: &mut Vec<Reason>,
) -> NetworkPolicy {
    if *settings == NetworkSettings::default() {
        reasons.push(Reason::invalid(
            "at least one of networkBlockAll, networkAllowList, domainAllowList must be given",
        ));
    }
    merge(current, settings, reasons)
}

/// The rules of writing: a list takes the place of the one before, an empty one clears it. A list with an entry lifts
/// the block. Blocking all clears the lists, so that no later change brings back what stood in them; so does lifting the
/// block where that is all that is asked, which clients understand as open to everything.
fn merge(
    current: &NetworkPolicy,
    settings: &NetworkSettings,
    reasons: &mut Vec<Reason>,
) -> NetworkPolicy {
    let networks = settings
        .allow_list
        .as_deref()
        .map(|text| parse_list("networkAllowList", "an IPv4 network", text, reasons));
    let domains = settings
        .domain_allow_list
        .as_deref()
        .map(|text| parse_list("domainAllowList", "a host name", text, reasons));
    refuse_contradiction(settings, reasons);

    let has_entry = networks.as_ref().is_some_and(|list| !list.is_empty())
        || domains.as_ref().is_some_and(|list| !list.is_empty());
    let is_alone = networks.is_none() && domains.is_none();
    let clears_lists =
        settings.block_all == Some(true) || (settings.block_all == Some(false) && is_alone);
    NetworkPolicy {
        block_all: match settings.block_all {
            Some(block_all) => block_all,
            None => current.block_all && !has_entry,
        },
        allow_networks: match networks {
            Some(networks) => networks,
            None if clears_lists => Vec::new(),
            None => current.allow_networks.clone(),
        },
        allow_domains: match domains {
            Some(domains) => domains,
            None if clears_lists => Vec::new(),
            None => current.allow_domains.clone(),
        },
    }
}

fn refuse_contradiction(settings: &NetworkSettings, reasons: &mut Vec<Reason>) {
    if settings.block_all != Some(true) {
        return;
    }
    for (field, list) in [
        ("networkAllowList", &settings.allow_list),
        ("domainAllowList", &settings.domain_allow_list),
    ] {
        if list.as_deref().is_some_and(|list| !list.is_empty()) {
            reasons.push(Reason::invalid(format!(
                "networkBlockAll and an entry in {field} contradict each other"
            )));
        }
    }
}

/// The entries of a list, each once, in the order in which they were written.
fn parse_list<T: std::str::FromStr + PartialEq>(
    field: &str,
    kind: &str,
    list: &str,
    reasons: &mut Vec<Reason>,
) -> Vec<T> {
    if list.is_empty() {
        return Vec::new();
    }
    if list.split(',').count() > ALLOWED_MAX {
        reasons.push(Reason::invalid(format!(
            "{field} must have at most {ALLOWED_MAX} entries"
        )));
    }
    let mut entries = Vec::new();
    for text in list.split(',').take(ALLOWED_MAX).map(str::trim) {
        match text.parse() {
            Ok(entry) if entries.contains(&entry) => {}
            Ok(entry) => entries.push(entry),
            Err(_) => {
                let shown: String = text.escape_debug().take(SHOWN_MAX).collect();
                reasons.push(Reason::invalid(format!("{field}: {shown} is not {kind}")));
            }
        }
    }
    entries
}

/// A sandbox's policy, and how far it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxNetwork {
    pub policy: NetworkPolicy,
    /// Grows by one with each change of the policy.
    pub version: u64,
    /// The version that was in force when the runner last said so. None before it ever ran.
    pub applied: Option<u64>,
}

impl SandboxNetwork {
    /// The network of a new sandbox.
    pub fn new(policy: NetworkPolicy) -> Self {
        Self {
            policy,
            version: 1,
            applied: None,
        }
    }

    /// Puts another policy in the place of this one. The same one again is no change.
    pub fn set(&mut self, policy: NetworkPolicy) {
        if self.policy != policy {
            self.policy = policy;
            self.version += 1;
        }
    }

    /// Takes the runner's word. A runner that knows a newer policy than ours has outlived a database: ours is raised
    /// above it.
    pub fn note_applied(&mut self, version: u64) {
        self.applied = Some(version);
        if version > self.version {
            self.version = version.saturating_add(1);
        }
    }

    /// Whether what was asked for is in force, as far as the runner has said.
    pub fn is_applied(&self) -> bool {
        self.applied == Some(self.version)
    }

    /// The same policy for another sandbox, where it is in force nowhere yet.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self::new(self.policy.clone())
    }
}
