//! Volumes: file systems of an organization that any number of its sandboxes mount at once.
//!
//! ```text
//!   PendingCreate ──Begin──► Creating ──Made──► Ready
//!                               │                 │
//!                             Failed            Delete
//!                               ▼                 ▼
//!                             Error ──Delete──► PendingDelete ──Begin──► Deleting ──Gone──► Deleted
//! ```
//!
//! A delete is never given up: a host that cannot do it yet is asked again. The name is free as soon as the delete is
//! accepted.

mod mount;

use jiff::Timestamp;

use crate::{OrganizationId, VolumeId};

pub use mount::{MountRequest, VolumeMount, check_mounts};

/// The least that a file system with a journal fits into, and what ext4 takes without more ado.
pub const BYTES_MIN: u64 = 16 << 20;
/// What a deleted volume's name ends in from then on.
const DELETED_SUFFIX: &str = "-deleted";

macro_rules! volume_states {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// What a volume is, in the API's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum VolumeState { $($name),* }

        impl VolumeState {
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

volume_states! {
    Creating = "creating",
    Ready = "ready",
    PendingCreate = "pending_create",
    PendingDelete = "pending_delete",
    Deleting = "deleting",
    Deleted = "deleted",
    Error = "error",
}

impl VolumeState {
    /// Whether it counts against the number of volumes that an organization may have.
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::Deleted | Self::Error)
    }

    /// Whether nobody else in the organization may take its name.
    pub const fn holds_name(self) -> bool {
        match self {
            Self::Creating | Self::Ready | Self::PendingCreate | Self::Error => true,
            Self::PendingDelete | Self::Deleting | Self::Deleted => false,
        }
    }

    /// Whether there is work to do that a caller has been promised.
    pub const fn is_unsettled(self) -> bool {
        match self {
            Self::Creating | Self::PendingCreate | Self::PendingDelete | Self::Deleting => true,
            Self::Ready | Self::Deleted | Self::Error => false,
        }
    }
}

impl std::fmt::Display for VolumeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state with what only that state has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumePhase {
    PendingCreate,
    Creating,
    Ready,
    PendingDelete,
    Deleting,
    Deleted,
    Error {
        /// Why the host could not make it.
        reason: String,
    },
}

impl VolumePhase {
    pub const fn state(&self) -> VolumeState {
        match self {
            Self::PendingCreate => VolumeState::PendingCreate,
            Self::Creating => VolumeState::Creating,
            Self::Ready => VolumeState::Ready,
            Self::PendingDelete => VolumeState::PendingDelete,
            Self::Deleting => VolumeState::Deleting,
            Self::Deleted => VolumeState::Deleted,
            Self::Error { .. } => VolumeState::Error,
        }
    }
}

/// What happens to a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeEvent {
    /// The host is asked to do what is pending.
    Begin,
    /// The host has it.
    Made,
    /// The host could not make it; nothing of it is there.
    Failed { reason: String },
    /// A caller wants it gone.
    Delete,
    /// The host has nothing of it any more.
    Gone,
}

/// An event that does not fit the state. For [`VolumeEvent::Delete`], it is what the caller hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Volume must be in state \"ready\" or \"error\" to be deleted, it is in state \"{state}\"")]
pub struct VolumeRefusal {
    pub state: VolumeState,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub id: VolumeId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub phase: VolumePhase,
    /// The size that it never grows beyond.
    pub size_bytes: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When a sandbox with it was last made or started.
    pub last_used_at: Option<Timestamp>,
    /// Grows by one with each write of the row.
    pub version: u64,
    /// That of the client of sessions who made it as a drive; None for all others.
    pub project: Option<String>,
    /// The volume with whose content it begins. It may be gone once this one is ready.
    pub source: Option<VolumeId>,
}

impl Volume {
    /// A volume that the host has not heard of yet.
    pub fn new(
        id: VolumeId,
        organization_id: OrganizationId,
        name: String,
        size_bytes: u64,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            organization_id,
            name,
            phase: VolumePhase::PendingCreate,
            size_bytes,
            created_at: at,
            updated_at: at,
            last_used_at: None,
            version: 1,
            project: None,
            source: None,
        }
    }

    pub fn state(&self) -> VolumeState {
        self.phase.state()
    }

    pub fn error_reason(&self) -> Option<&str> {
        match &self.phase {
            VolumePhase::Error { reason } => Some(reason),
            _ => None,
        }
    }

    /// What the volume is after the event.
    ///
    /// # Errors
    /// The state, if the event does not fit it.
    pub fn apply(self, event: VolumeEvent, at: Timestamp) -> Result<Self, VolumeRefusal> {
        use VolumeEvent as Event;
        use VolumePhase as Phase;
        let state = self.phase.state();
        let mut name = self.name;
        let phase = match (self.phase, event) {
            (Phase::PendingCreate, Event::Begin) => Phase::Creating,
            (Phase::Creating, Event::Made) => Phase::Ready,
            (Phase::Creating, Event::Failed { reason }) => Phase::Error { reason },
            (Phase::Ready | Phase::Error { .. }, Event::Delete) => {
                name.push_str(DELETED_SUFFIX);
                Phase::PendingDelete
            }
            (Phase::PendingDelete, Event::Begin) => Phase::Deleting,
            (Phase::Deleting, Event::Gone) => Phase::Deleted,
            _ => return Err(VolumeRefusal { state }),
        };
        Ok(Self {
            name,
            phase,
            updated_at: at,
            version: self.version + 1,
            ..self
        })
    }
}

/// The organization has as many volumes as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Volume quota exceeded. Maximum allowed: {limit}")]
pub struct TooManyVolumes {
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn volume(phase: VolumePhase) -> Volume {
        let id = VolumeId::from_uuid(uuid::Uuid::from_u128(1));
        let org = OrganizationId::from_uuid(uuid::Uuid::from_u128(2));
        let at = Timestamp::UNIX_EPOCH;
        Volume {
            phase,
            ..Volume::new(id, org, "data".to_owned(), 1 << 30, at)
        }
    }

    fn phases() -> Vec<VolumePhase> {
        let phases = vec![
            VolumePhase::Creating,
            VolumePhase::Ready,
            VolumePhase::PendingCreate,
            VolumePhase::PendingDelete,
            VolumePhase::Deleting,
            VolumePhase::Deleted,
            VolumePhase::Error {
                reason: "full".to_owned(),
            },
        ];
        let states: Vec<VolumeState> = phases.iter().map(VolumePhase::state).collect();
        assert_eq!(states, VolumeState::ALL);
        phases
    }

    fn events() -> [VolumeEvent; 5] {
        [
            VolumeEvent::Begin,
            VolumeEvent::Made,
            VolumeEvent::Failed {
                reason: "full".to_owned(),
            },
            VolumeEvent::Delete,
            VolumeEvent::Gone,
        ]
    }

    /// Every state against every event, in the order of [`events`]; a dash is a refusal.
    const TABLE: &str = "
        creating        -         ready  error  -               -
        ready           -         -      -      pending_delete  -
        pending_create  creating  -      -      -               -
        pending_delete  deleting  -      -      -               -
        deleting        -         -      -      -               deleted
        deleted         -         -      -      -               -
        error           -         -      -      pending_delete  -
    ";

    #[test]
    fn every_state_takes_the_events_of_the_table_and_no_other() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|row: &Vec<&str>| !row.is_empty())
            .collect();
        assert_eq!(rows.len(), phases().len());
        for (phase, row) in phases().into_iter().zip(rows) {
            assert_eq!(phase.state().as_str(), row[0]);
            for (event, expected) in events().into_iter().zip(&row[1..]) {
                let before = volume(phase.clone());
                let after = before.clone().apply(event.clone(), Timestamp::UNIX_EPOCH);
                let found = after.as_ref().map_or("-", |after| after.state().as_str());
                assert_eq!(found, *expected, "{phase:?} {event:?}");
                match after {
                    Ok(after) => assert_eq!(after.version, before.version + 1),
                    Err(refusal) => assert_eq!(refusal.state, before.state()),
                }
            }
        }
    }

    #[test]
    fn a_deleted_volume_gives_its_name_away_at_once() {
        let ready = volume(VolumePhase::Ready);
        assert!(ready.state().holds_name());
        let going = ready
            .apply(VolumeEvent::Delete, Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(going.name, "data-deleted");
        assert!(!going.state().holds_name());
        assert!(going.state().is_counted(), "the host has it still");
    }

    #[test]
    fn every_state_is_read_back_from_its_word() {
        for state in VolumeState::ALL {
            assert_eq!(VolumeState::parse(state.as_str()), Some(*state));
        }
        assert_eq!(VolumeState::parse("gone"), None);
    }

    proptest! {
        #[test]
        fn no_run_of_events_brings_a_deleted_volume_back(
            picks in proptest::collection::vec(0_usize..5, 0..40),
        ) {
            let mut now = volume(VolumePhase::PendingCreate);
            let mut was_going = false;
            for pick in picks {
                let event = events()[pick].clone();
                now = now.clone().apply(event, Timestamp::UNIX_EPOCH).unwrap_or(now);
                let is_going = !now.state().holds_name();
                prop_assert!(is_going || !was_going, "{:?}", now);
                was_going = is_going;
                prop_assert!(now.name.matches(DELETED_SUFFIX).count() <= 1);
            }
        }
    }
}
