//! How much a runner may say at once. It is a host of whoever registered it: what it sends must not fill the server's memory.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::call::{Ask, Follow};

/// A word that something is done, or why it is not.
const WORD: usize = 64 << 10;
/// What became of one thing: reasons, an image, a piece of a log as numbers.
const OUTCOME: usize = 1 << 20;
/// Something of each sandbox or image. The largest is the inventory: some 300 bytes for each sandbox.
const LIST: usize = 32 << 20;

/// The most that may come as one answer or message of a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub what: &'static str,
    pub bytes: usize,
}

impl Ask {
    pub fn limit(&self) -> Limit {
        let (what, bytes) = match self {
            Self::Apply(_) => ("the answer to an order", OUTCOME),
            Self::ApplyVolume(_) => ("the answer to an order for a volume", WORD),
            Self::Inventory => ("the inventory", LIST),
            Self::HostStatus => ("how the host is", WORD),
            Self::Samples => ("what sandboxes use", LIST),
            Self::Images => ("the list of images", LIST),
            Self::ReleaseImage(_) => ("the answer to the release of an image", WORD),
            Self::CollectImages(_) => ("what became of images", OUTCOME),
            Self::Build(_) => ("what became of a build", OUTCOME),
            Self::CancelBuild(_) | Self::ForgetBuild(_) => ("the answer about a build", WORD),
            Self::BuildLog { .. } => ("a piece of the log of a build", OUTCOME),
            Self::KeepWarm(_) | Self::TakeWarm(_) | Self::GiveWarmBack(_) => {
                ("the answer about warm sandboxes", WORD)
            }
            Self::WarmStates => ("how warm sandboxes are", OUTCOME),
            Self::TakeSightings => ("what was seen of the network", LIST),
        };
        Limit { what, bytes }
    }
}

impl Follow {
    /// Of each message.
    pub fn limit(&self) -> Limit {
        let (what, bytes) = match self {
            Self::Pull(_) => ("the state of a pull", OUTCOME),
            Self::Reports => ("a report", OUTCOME),
            Self::Fetch(_) => ("a piece of what is fetched", OUTCOME),
            Self::Listen { .. } => ("word of a connection", WORD),
        };
        Limit { what, bytes }
    }
}

/// Why the server ended a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutOff {
    #[error("{what} has more than {limit} bytes")]
    TooMuch { what: &'static str, limit: usize },
    #[error("{what} is no message at all")]
    NoMessage { what: &'static str },
}

/// Ends a link, once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knife {
    pub close: CancellationToken,
    why: Arc<OnceLock<CutOff>>,
}

impl Knife {
    pub fn cut(&self, why: CutOff) {
        // The first is the one that it was for.
        if self.why.set(why).is_ok() {
            self.close.cancel();
        }
    }

    pub fn why(&self) -> Option<&CutOff> {
        self.why.get()
    }
}
