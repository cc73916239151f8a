//! What sandboxes are made from.

use jiff::Timestamp;

use crate::{OrganizationId, Resources, SandboxClass, SandboxId, SnapshotId};

macro_rules! snapshot_states {
    ($($name:ident = $text:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SnapshotState { $($name),* }

        impl SnapshotState {
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

snapshot_states! {
    Building = "building",
    Pending = "pending",
    Pulling = "pulling",
    Snapshotting = "snapshotting",
    Active = "active",
    Inactive = "inactive",
    Error = "error",
    BuildFailed = "build_failed",
    Removing = "removing",
}

/// An image together with the sizes that sandboxes made from it get.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub id: SnapshotId,
    /// None for a general one, which every organization sees.
    pub organization_id: Option<OrganizationId>,
    pub name: String,
    /// The digest under which the runner knows the image.
    pub image: String,
    pub state: SnapshotState,
    pub size_bytes: Option<u64>,
    pub entrypoint: Vec<String>,
    /// The user that the image names; sandboxes run as this one unless the caller names another.
    pub user: String,
    pub resources: Resources,
    pub class: SandboxClass,
    pub error_reason: Option<String>,
    /// The sandbox that it was made of. It may be gone.
    pub source_sandbox_id: Option<SandboxId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

impl Snapshot {
    pub fn is_general(&self) -> bool {
        self.organization_id.is_none()
    }
}
