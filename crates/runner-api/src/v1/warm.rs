//! Sandboxes that are made ahead of need.
//!
//! A member is made as any sandbox up to the point where it would learn whose it is, and waits there: nothing of an
//! owner is in it, it is in no inventory, and it does not outlive the runner's process. The order to run a sandbox of a
//! member's id hands the member over.

use serde::{Deserialize, Serialize};

use super::{Fault, ImageDigest, Resources};

/// Members of one kind are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmKind {
    /// Whom the members are kept for, in the control plane's words. The runner only compares it.
    pub pool: String,
    pub image: ImageDigest,
    pub resources: Resources,
}

/// How many members of one kind are to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmWish {
    #[serde(flatten)]
    pub kind: WarmKind,
    pub size: u32,
}

/// What there is of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmState {
    #[serde(flatten)]
    pub kind: WarmKind,
    /// Members that wait.
    pub ready: u32,
    /// Why the last one could not be made, until one can.
    pub fault: Option<Fault>,
}
