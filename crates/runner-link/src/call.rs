//! What is asked for over a link.

use alcove_domain::{BuildId, SandboxId};
use alcove_runner_api::{Build, Fetch, Needed, Order, Pull, VolumeOrder, WarmKind, WarmWish};
use serde::{Deserialize, Serialize};

/// Where one answer comes.
pub(crate) const ASK: &str = "/ask";
/// Where a stream of answers comes.
pub(crate) const FOLLOW: &str = "/follow";
/// Holds a [`Dial`] in a request to connect.
pub(crate) const DIAL: &str = "alcove-dial";
/// Holds an [`Dialled`] in the answer to one.
pub(crate) const DIALLED: &str = "alcove-dialled";

/// A question with one answer: a `Result` of what the method of the same name answers, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", content = "with", rename_all = "camelCase")]
pub(crate) enum Ask {
    Apply(Box<Order>),
    ApplyVolume(VolumeOrder),
    Inventory,
    HostStatus,
    Samples,
    Images,
    ReleaseImage(String),
    CollectImages(Needed),
    Build(Box<Build>),
    CancelBuild(BuildId),
    ForgetBuild(BuildId),
    #[serde(rename_all = "camelCase")]
    BuildLog {
        build: BuildId,
        from: u64,
        waits: bool,
    },
    KeepWarm(Vec<WarmWish>),
    WarmStates,
    TakeWarm(Vec<WarmKind>),
    GiveWarmBack(SandboxId),
    TakeSightings,
}

/// A question whose answers come one after the other, as frames.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "follow", content = "with", rename_all = "camelCase")]
pub(crate) enum Follow {
    /// A `Result`, then each state.
    Pull(Box<Pull>),
    /// Each report.
    Reports,
    /// A `Result`, then pieces, the last of which may be an error.
    Fetch(Fetch),
    /// A `Result` with the port, then each connection as an [`Accepted`]. The end of the stream ends the listener.
    Listen {
        sandbox: SandboxId,
        port: Option<u16>,
    },
}

/// A connection that is waited for on the runner's side.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// What it is asked for with.
    pub number: u64,
    /// Where it comes from: address and port.
    pub peer: String,
}

/// Where a tunnel goes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "camelCase")]
pub(crate) enum Dial {
    Agent { sandbox: SandboxId },
    Port { sandbox: SandboxId, port: u16 },
    Accepted { number: u64 },
}

/// What became of a [`Dial`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub(crate) enum Dialled {
    /// `token` is the secret of the agent.
    Open {
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    NotRunning,
    NobodyListens,
    PortTaken,
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_says_nothing_of_a_limit_is_not_limited_and_one_that_does_is() {
        let mut ask = serde_json::json!({"ask": "build", "with": {
            "id": "b",
            "name": "+b",
            "organization": "o",
            "dockerfile": "FROM x",
            "contexts": [],
            "images": {},
            "limit": {"secs": 60, "nanos": 0},
        }});
        let is_limited = |ask: &serde_json::Value| match serde_json::from_value(ask.clone()) {
            Ok(Ask::Build(order)) => order.network().is_limited,
            other => panic!("{other:?}"),
        };
        // As control planes write it that know no such limit.
        assert!(!is_limited(&ask));
        ask["with"]["isLimited"] = true.into();
        assert!(is_limited(&ask));
    }
}
