//! The life of a snapshot.
//!
//! ```text
//!    create ──► pending ──► pulling ──► active ◄──► inactive
//!                  │           │          ▲  activate │ of what can be pulled again: by way of pending
//!                  └───────────┴──► error │           │
//!                                         └───────────┘
//!    everything but snapshotting ──► removing ──► gone
//! ```
//!
//! Building, and what comes of it, belongs to the builder; snapshotting to the sandbox that is snapshotted.

use super::{Snapshot, SnapshotState};

/// What happens to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotEvent {
    /// The runner has begun to fetch the image.
    PullBegun,
    /// The image is there.
    Pulled,
    /// It will not come.
    PullFailed,
    /// A caller wants to make sandboxes of it again.
    Activate,
    /// A caller does not need it for now, or nobody has used it for long.
    Deactivate,
    /// A caller wants it gone.
    Delete,
}

impl SnapshotEvent {
    pub const ALL: [Self; 6] = [
        Self::PullBegun,
        Self::Pulled,
        Self::PullFailed,
        Self::Activate,
        Self::Deactivate,
        Self::Delete,
    ];
}

/// Why an event does not change a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefusal {
    #[error("Snapshot is {}: only an inactive one can be activated", .state.as_str())]
    NotInactive { state: SnapshotState },
    #[error("Snapshot is {}: only an active one can be deactivated", .state.as_str())]
    NotActive { state: SnapshotState },
    /// A sandbox is being snapshotted.
    #[error("Snapshot is being made")]
    BeingMade,
    /// News of a pull that nobody waits for any more.
    #[error("the pull is of no concern any more")]
    Stale,
}

impl Snapshot {
    /// The state that follows.
    ///
    /// # Errors
    /// Why the event changes nothing here.
    pub fn after(&self, event: SnapshotEvent) -> Result<SnapshotState, SnapshotRefusal> {
        use SnapshotEvent as E;
        use SnapshotState as S;
        let state = self.state;
        match (event, state) {
            (E::PullBegun, S::Pending | S::Pulling) => Ok(S::Pulling),
            (E::Pulled, S::Pending | S::Pulling) => Ok(S::Active),
            (E::PullFailed, S::Pending | S::Pulling) => Ok(S::Error),
            (E::PullBegun | E::Pulled | E::PullFailed, _) => Err(SnapshotRefusal::Stale),
            (E::Activate, S::Inactive) if self.can_be_pulled() => Ok(S::Pending),
            (E::Activate, S::Inactive) => Ok(S::Active),
            (E::Activate, _) => Err(SnapshotRefusal::NotInactive { state }),
            // Doing it again is no mistake.
            (E::Deactivate, S::Active | S::Inactive) => Ok(S::Inactive),
            (E::Deactivate, _) => Err(SnapshotRefusal::NotActive { state }),
            (E::Delete, S::Snapshotting) => Err(SnapshotRefusal::BeingMade),
            (E::Delete, _) => Ok(S::Removing),
        }
    }
}

impl SnapshotState {
    /// Whether it counts against the quota of its organization.
    pub const fn is_counted(self) -> bool {
        match self {
            Self::Building | Self::Pending | Self::Pulling | Self::Snapshotting | Self::Active => {
                true
            }
            Self::Inactive | Self::Error | Self::BuildFailed | Self::Removing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every event: what follows, for one that can be pulled. A dash is a refusal.
    const TABLE: &str = "
        state        PullBegun Pulled  PullFailed Activate Deactivate Delete
        building     -         -       -          -        -          removing
        pending      pulling   active  error      -        -          removing
        pulling      pulling   active  error      -        -          removing
        snapshotting -         -       -          -        -          -
        active       -         -       -          -        inactive   removing
        inactive     -         -       -          pending  inactive   removing
        error        -         -       -          -        -          removing
        build_failed -         -       -          -        -          removing
        removing     -         -       -          -        -          removing
    ";

    fn pulled(state: SnapshotState) -> Snapshot {
        Snapshot {
            state,
            image_name: Some("python:3.12".to_owned()),
            ..super::super::sample()
        }
    }

    #[test]
    fn every_state_takes_every_event_as_the_table_says() {
        let mut lines = TABLE.trim().lines();
        let header = lines.next().unwrap_or_default();
        let events: Vec<&str> = header.split_whitespace().skip(1).collect();
        let named: Vec<String> = SnapshotEvent::ALL.map(|event| format!("{event:?}")).into();
        assert_eq!(events, named);
        let mut seen = Vec::new();
        for line in lines {
            let mut words = line.split_whitespace();
            let state = words.next().and_then(SnapshotState::parse);
            let Some(state) = state else {
                panic!("no state in {line:?}");
            };
            seen.push(state);
            for (event, expected) in SnapshotEvent::ALL.into_iter().zip(words) {
                let found = pulled(state).after(event);
                let found = found.map_or("-", SnapshotState::as_str);
                assert_eq!(found, expected, "{state:?} {event:?}");
            }
        }
        assert_eq!(seen, SnapshotState::ALL);
    }

    #[test]
    fn one_that_comes_from_no_registry_is_active_again_at_once() {
        let mut snapshot = pulled(SnapshotState::Inactive);
        snapshot.image_name = None;
        assert_eq!(
            snapshot.after(SnapshotEvent::Activate),
            Ok(SnapshotState::Active)
        );
    }
}
