//! What sandboxes are made from.

mod life;
mod request;

use jiff::Timestamp;

pub use self::life::{SnapshotEvent, SnapshotRefusal};
pub use self::request::{
    NewSnapshot, SnapshotPlan, check_image_name, check_name, is_reference, plan_snapshot,
    registry_of, repository_of,
};

use crate::create::user_of_image;
use crate::{OrganizationId, Resources, Sandbox, SandboxClass, SandboxId, SnapshotId};

macro_rules! snapshot_states {
    ($($name:ident = $text:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SnapshotState { $($name),* }

        impl SnapshotState {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

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
    /// None for one of the server's own images.
    pub organization_id: Option<OrganizationId>,
    /// Whether every organization sees it, and none but the administrator of the server changes it. Of an organization's own only:
    /// the server's images are everybody's without.
    pub is_shared: bool,
    pub name: String,
    /// Where the image comes from, as the caller wrote it. None where it comes from no registry.
    pub image_name: Option<String>,
    /// The digest under which the runner knows the image; empty until that is known.
    pub image: String,
    pub state: SnapshotState,
    pub size_bytes: Option<u64>,
    /// What is run in its sandboxes beside the agent: the caller's, or else the image's.
    pub entrypoint: Vec<String>,
    /// Whether the entrypoint is the caller's, which stands for all that the image names.
    pub has_own_entrypoint: bool,
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
    /// When it was made inactive last.
    pub deactivated_at: Option<Timestamp>,
    /// Names what the image was built of, where a create of a sandbox has had it built. People see no such snapshot;
    /// it counts against no quota, and goes when it is not needed.
    pub build_key: Option<String>,
    /// When it goes by itself.
    pub expires_at: Option<Timestamp>,
    /// Where it stands among those that clients of sessions make; None for all others.
    pub lineage: Option<Lineage>,
}

/// Where a snapshot stands that a client of sessions made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The one that was the sandbox's before. It may be gone.
    pub parent: Option<SnapshotId>,
    /// The session whose files it has.
    pub session: String,
    pub project: String,
}

impl Snapshot {
    /// Whether every organization sees it.
    pub fn is_general(&self) -> bool {
        self.is_shared || self.organization_id.is_none()
    }

    /// Whether it is the organization's own, general or not.
    pub fn is_of(&self, organization: &OrganizationId) -> bool {
        self.organization_id.as_ref() == Some(organization)
    }

    /// As everybody else sees it: whose it is, what it was made of and why it failed is its organization's own.
    #[must_use]
    pub fn seen_by(self, organization: &OrganizationId) -> Self {
        if self.is_of(organization) {
            return self;
        }
        Self {
            organization_id: None,
            source_sandbox_id: None,
            error_reason: None,
            lineage: None,
            ..self
        }
    }

    /// Whether the image can be had again when it is gone from the host.
    pub fn can_be_pulled(&self) -> bool {
        self.image_name.is_some()
    }

    /// Whether the host keeps the image for its sake. One that can be pulled is fetched again when it is made active.
    pub fn needs_image(&self) -> bool {
        match self.state {
            SnapshotState::Active
            | SnapshotState::Pending
            | SnapshotState::Pulling
            | SnapshotState::Building
            | SnapshotState::Snapshotting => true,
            SnapshotState::Inactive => !self.can_be_pulled(),
            SnapshotState::Error | SnapshotState::BuildFailed | SnapshotState::Removing => false,
        }
    }

    /// The reference to pull: the exact image where it is known, whatever its tag means by now.
    pub fn reference(&self) -> Option<String> {
        let name = self.image_name.as_deref()?;
        if self.image.is_empty() || name.contains('@') {
            return Some(name.to_owned());
        }
        let repository = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        };
        Some(format!("{repository}@{}", self.image))
    }

    /// Gives a new sandbox what it has of its image. A user that is named already stays.
    pub fn dress(&self, sandbox: &mut Sandbox) {
        sandbox.image.clone_from(&self.image);
        sandbox.entrypoint = self.own_entrypoint();
        if sandbox.user.is_empty() {
            user_of_image(&self.user).clone_into(&mut sandbox.user);
        }
    }

    /// What sandboxes of it run in place of what the image names; nothing where that is the image's own.
    pub fn own_entrypoint(&self) -> Vec<String> {
        if self.has_own_entrypoint {
            self.entrypoint.clone()
        } else {
            Vec::new()
        }
    }
}

/// An active snapshot for tests of this crate.
#[cfg(test)]
pub(crate) fn sample() -> Snapshot {
    Snapshot {
        id: SnapshotId::from_uuid(uuid::Uuid::from_u128(3)),
        organization_id: None,
        is_shared: false,
        name: "default".to_owned(),
        image_name: None,
        image: "sha256:0".to_owned(),
        state: SnapshotState::Active,
        size_bytes: None,
        entrypoint: Vec::new(),
        has_own_entrypoint: false,
        user: String::new(),
        resources: Resources::DEFAULT,
        class: SandboxClass::Container,
        error_reason: None,
        source_sandbox_id: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        last_used_at: None,
        deactivated_at: None,
        build_key: None,
        expires_at: None,
        lineage: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_known_is_pulled_by_its_digest() {
        let reference = |name: &str, image: &str| {
            let snapshot = Snapshot {
                image_name: Some(name.to_owned()),
                image: image.to_owned(),
                ..sample()
            };
            snapshot.reference()
        };
        for (name, image, expected) in [
            ("python:3.12", "", "python:3.12"),
            ("python:3.12", "sha256:1", "python@sha256:1"),
            ("host:5000/a/b:1", "sha256:1", "host:5000/a/b@sha256:1"),
            (
                "host:5000/a/b@sha256:2",
                "sha256:1",
                "host:5000/a/b@sha256:2",
            ),
        ] {
            assert_eq!(reference(name, image), Some(expected.to_owned()));
        }
        assert_eq!(sample().reference(), None);
    }

    #[test]
    fn only_what_can_be_had_again_gives_its_image_back_when_inactive() {
        let mut snapshot = Snapshot {
            state: SnapshotState::Inactive,
            ..sample()
        };
        assert!(snapshot.needs_image());
        snapshot.image_name = Some("python:3.12".to_owned());
        assert!(!snapshot.needs_image());
    }
}
