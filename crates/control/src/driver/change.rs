//! Settings of a sandbox, and what becomes of it when one changes.

use std::collections::BTreeMap;

use alcove_domain::network::plan_change;
use alcove_domain::session::SessionRecord;
use alcove_domain::{Capability, NetworkSettings, Phase, Reason, Sandbox, VolumeMount};
use jiff::Timestamp;

use crate::Error;

/// A setting and its new value.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Labels(BTreeMap<String, String>),
    Intervals(IntervalChange),
    Public(bool),
    Network(NetworkSettings),
    Session(SessionChange),
}

/// What a sandbox says of its session by now.
#[derive(Debug, Clone)]
pub(crate) struct SessionChange {
    pub labels: BTreeMap<String, String>,
    /// When this run is to end, if that changes.
    pub stop_at: Option<Timestamp>,
    pub is_unfinished: bool,
    /// In the same transaction, so that the record never names drives that are not mounted.
    pub outfit: OutfitChange,
}

/// What the next runs are made with, where that changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutfitChange {
    pub env: Option<BTreeMap<String, String>>,
    /// Only of a sandbox without processes.
    pub volumes: Option<Vec<VolumeMount>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum IntervalChange {
    AutoStop(u32),
    AutoPause(u32),
    AutoArchive(u32),
    AutoDelete(Option<u32>),
    Ttl(Option<u32>),
}

impl Change {
    /// What the host must be able to do for it.
    pub fn needs(&self) -> Option<Capability> {
        match self {
            Self::Intervals(IntervalChange::AutoPause(1..)) => Some(Capability::Pause),
            Self::Network(_) => Some(Capability::NetworkPolicies),
            Self::Session(change) => change.outfit.mounts_any().then_some(Capability::Volumes),
            _ => None,
        }
    }

    /// Whether labels are written anew.
    pub fn is_of_labels(&self) -> bool {
        matches!(self, Self::Labels(_) | Self::Session(_))
    }

    /// Whether it is of what the next runs are made with.
    pub fn is_of_outfit(&self) -> bool {
        matches!(self, Self::Session(change) if !change.outfit.is_empty())
    }

    pub fn apply(self, next: &mut Sandbox, now: Timestamp) -> Result<(), Error> {
        match self {
            Self::Labels(labels) => next.labels = labels,
            Self::Intervals(change) => change.apply(next, now),
            Self::Public(is_public) => next.is_public = is_public,
            Self::Session(mut change) => {
                change.outfit.apply(next)?;
                SessionRecord::keep_end(&mut change.labels, &next.labels);
                next.labels = change.labels;
                next.stop_at = change.stop_at.or(next.stop_at);
                next.is_unfinished = change.is_unfinished;
            }
            Self::Network(settings) => {
                let mut reasons = Vec::new();
                let policy = plan_change(&next.network.policy, &settings, &mut reasons);
                Error::check(reasons)?;
                next.network.set(policy);
            }
        }
        Ok(())
    }
}

impl OutfitChange {
    fn is_empty(&self) -> bool {
        self.env.is_none() && self.volumes.is_none()
    }

    fn mounts_any(&self) -> bool {
        let volumes = self.volumes.as_ref();
        volumes.is_some_and(|volumes| !volumes.is_empty())
    }

    fn apply(self, next: &mut Sandbox) -> Result<(), Error> {
        if let Some(volumes) = self.volumes
            && volumes != next.volumes
        {
            let is_at_rest = matches!(
                next.lifecycle.phase,
                Phase::Stopped { .. } | Phase::Archived
            );
            if !is_at_rest {
                let message =
                    "What is mounted can be changed while the sandbox is stopped; stop it first";
                return Err(Error::refused(vec![Reason::invalid(message)]));
            }
            next.volumes = volumes;
        }
        if let Some(env) = self.env {
            next.env = env;
        }
        Ok(())
    }
}

impl IntervalChange {
    fn apply(self, sandbox: &mut Sandbox, now: Timestamp) {
        let intervals = &mut sandbox.intervals;
        match self {
            // The one that is set last counts: only one of them would ever come.
            Self::AutoStop(minutes) => {
                intervals.auto_stop_minutes = minutes;
                if minutes > 0 {
                    intervals.auto_pause_minutes = 0;
                }
            }
            Self::AutoPause(minutes) => {
                intervals.auto_pause_minutes = minutes;
                if minutes > 0 {
                    intervals.auto_stop_minutes = 0;
                }
            }
            Self::AutoArchive(minutes) => intervals.auto_archive_minutes = minutes,
            Self::AutoDelete(minutes) => intervals.auto_delete_minutes = minutes,
            Self::Ttl(minutes) => sandbox.set_ttl(minutes, now),
        }
    }
}
