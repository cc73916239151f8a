//! The sandbox as the control plane knows it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    DesiredState, Fault, Intervals, Lifecycle, OrganizationId, Phase, RunnerId, SandboxId,
    SandboxNetwork, SandboxState, SealedProxy, SnapshotId, VolumeMount,
};

/// Sizes as the API counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    pub cpu_cores: u32,
    pub memory_gib: u32,
    pub disk_gib: u32,
    pub gpu: u32,
}

impl Resources {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu_cores: self.cpu_cores.max(other.cpu_cores),
            memory_gib: self.memory_gib.max(other.memory_gib),
            disk_gib: self.disk_gib.max(other.disk_gib),
            gpu: self.gpu.max(other.gpu),
        }
    }

    /// What a snapshot gets that names no sizes.
    pub const DEFAULT: Self = Self {
        cpu_cores: 1,
        memory_gib: 1,
        disk_gib: 3,
        gpu: 0,
    };
}

/// How a sandbox is isolated, in the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SandboxClass {
    Container,
    LinuxVm,
    Android,
    Windows,
}

impl SandboxClass {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::LinuxVm => "linux-vm",
            Self::Android => "android",
            Self::Windows => "windows",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "container" => Some(Self::Container),
            "linux-vm" => Some(Self::LinuxVm),
            "android" => Some(Self::Android),
            "windows" => Some(Self::Windows),
            _ => None,
        }
    }
}

/// The word for a sandbox that runs under an older network policy.
const NETWORK_LAGS: &str = "network_policy_not_applied";

/// One sandbox. The lifecycle part changes only through [`Lifecycle`]'s transitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    pub id: SandboxId,
    pub organization_id: OrganizationId,
    /// The name as given, also after the sandbox is gone; only live names are unique.
    pub name: String,
    pub snapshot_id: SnapshotId,
    /// The snapshot's name when the sandbox was made. Of one whose image was built for it, the name of the image.
    pub snapshot: String,
    /// Whether its image was built for it. No snapshot that people see is behind it then.
    pub is_built: bool,
    /// The digest under which the runner knows the image. Empty while it is being built.
    pub image: String,
    /// What is run beside the agent in place of what the image names; empty leaves it to the image. Kept here, since
    /// the snapshot may go.
    pub entrypoint: Vec<String>,
    pub class: SandboxClass,
    /// Empty while the image is being built that names it.
    pub user: String,
    /// The caller's own variables, without those of the platform.
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub is_public: bool,
    /// Region id, called `target` on the wire.
    pub region: String,
    /// The runner that it is on, for life; None for the one that is part of the server.
    pub runner: Option<RunnerId>,
    pub resources: Resources,
    pub intervals: Intervals,
    /// When the sandbox is deleted whatever its state; None without a time to live.
    pub auto_destroy_at: Option<Timestamp>,
    /// When it is stopped however busy it is; of this run alone. None without such an end.
    pub stop_at: Option<Timestamp>,
    /// Whether it has not yet what its create promises: a source, sizes. Nobody was told of such a sandbox, and one that
    /// nobody makes any more goes.
    pub is_unfinished: bool,
    /// What it may reach.
    pub network: SandboxNetwork,
    /// The proxy that its programs are told to use, for life: a fork of it has the same.
    pub outbound_proxy: Option<SealedProxy>,
    /// What it mounts, for life: a fork of it mounts the same.
    pub volumes: Vec<VolumeMount>,
    /// The sandbox that this one is a fork of. It may be gone.
    pub parent_id: Option<SandboxId>,
    /// The sandbox that this one is linked with, for life ([`crate::link`]). When that goes, so does this.
    pub linked_to: Option<SandboxId>,
    pub lifecycle: Lifecycle,
    /// Version of the agent that last answered in the sandbox.
    pub agent_version: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_activity_at: Timestamp,
    /// Grows by one with each write of the row.
    pub version: u64,
}

impl Sandbox {
    /// The state to show, derived from stored and desired state.
    pub fn state(&self) -> SandboxState {
        self.lifecycle.display_state()
    }

    pub fn desired_state(&self) -> DesiredState {
        self.lifecycle.desired
    }

    /// Why the sandbox is not what was asked: set in `error`, `build_failed`, and in `stopped` when
    /// nobody asked for the stop.
    pub fn fault(&self) -> Option<&Fault> {
        self.lifecycle.phase.fault()
    }

    /// Why what was asked is not in force, for people: the fault, or a policy that lags behind while the sandbox runs.
    pub fn error_reason(&self) -> Option<String> {
        let fault = self.fault().map(|fault| fault.message.clone());
        fault.or_else(|| {
            let version = self.network.version;
            let before = match self.network.applied {
                Some(applied) => format!(", version {applied} is"),
                None => String::new(),
            };
            self.network_lags().then(|| {
                format!("version {version} of the network policy is not in force yet{before}")
            })
        })
    }

    /// What [`Sandbox::error_reason`] says, as a word.
    pub fn error_code(&self) -> Option<&'static str> {
        let fault = self.fault().map(|fault| fault.code.as_str());
        fault.or_else(|| self.network_lags().then_some(NETWORK_LAGS))
    }

    /// Whether it runs under another policy than it should, as far as the runner has said.
    pub fn network_lags(&self) -> bool {
        self.lifecycle.is_at_work() && !self.network.is_applied()
    }

    /// Whether a later start may succeed although the sandbox is in `error`.
    pub fn is_recoverable(&self) -> bool {
        self.lifecycle.is_recoverable()
    }

    /// Stopping an ephemeral sandbox deletes it.
    pub fn is_ephemeral(&self) -> bool {
        self.intervals.is_ephemeral()
    }

    /// The time to live counts from `at` on.
    pub fn set_ttl(&mut self, minutes: Option<u32>, at: Timestamp) {
        self.intervals.ttl_minutes = minutes;
        self.auto_destroy_at = self.intervals.auto_destroy_at(at);
    }

    /// A new sandbox that begins with a copy of this one's files. Who may reach it from outside is not
    /// taken over.
    #[must_use]
    pub fn fork(&self, id: SandboxId, name: String, at: Timestamp) -> Self {
        Self {
            id,
            name,
            is_public: false,
            lifecycle: Lifecycle::awaiting_copy(at),
            auto_destroy_at: self.intervals.auto_destroy_at(at),
            stop_at: None,
            is_unfinished: false,
            parent_id: Some(self.id.clone()),
            linked_to: None,
            network: self.network.copied(),
            agent_version: None,
            created_at: at,
            updated_at: at,
            last_activity_at: at,
            version: 1,
            ..self.clone()
        }
    }

    /// What holds for one run only goes when that is over.
    pub fn forget_run(&mut self) {
        if self.is_run_over() {
            self.stop_at = None;
        }
    }

    /// Whether nothing of the last run is to be seen any more. One that failed may yet be seen to run.
    pub fn is_run_over(&self) -> bool {
        match self.lifecycle.phase {
            Phase::Stopped { .. } | Phase::Archived | Phase::Destroyed => true,
            Phase::Error { .. } => self.desired_state() != DesiredState::Started,
            _ => false,
        }
    }

    /// Whether its owner still sees it.
    pub fn is_visible(&self) -> bool {
        self.lifecycle.is_visible()
    }
}

/// A started sandbox for tests of this crate.
#[cfg(test)]
pub(crate) fn sample(at: Timestamp) -> Sandbox {
    let id = SandboxId::from_uuid(uuid::Uuid::from_u128(1));
    Sandbox {
        name: id.to_string(),
        id,
        organization_id: OrganizationId::from_uuid(uuid::Uuid::from_u128(2)),
        snapshot_id: SnapshotId::from_uuid(uuid::Uuid::from_u128(3)),
        snapshot: "default".to_owned(),
        is_built: false,
        image: "sha256:0".to_owned(),
        entrypoint: Vec::new(),
        class: SandboxClass::Container,
        user: "daytona".to_owned(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        is_public: false,
        region: "us".to_owned(),
        runner: None,
        resources: Resources::DEFAULT,
        intervals: Intervals::default(),
        auto_destroy_at: None,
        stop_at: None,
        is_unfinished: false,
        network: SandboxNetwork::new(crate::NetworkPolicy::default()),
        outbound_proxy: None,
        volumes: Vec::new(),
        parent_id: None,
        linked_to: None,
        lifecycle: Lifecycle::created(at),
        agent_version: None,
        created_at: at,
        updated_at: at,
        last_activity_at: at,
        version: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_lags_behind_is_told_while_the_sandbox_runs() {
        let mut sandbox = sample(Timestamp::UNIX_EPOCH);
        assert_eq!(sandbox.error_reason(), None, "it is still being made");
        sandbox.lifecycle.phase = Phase::Started;
        sandbox.network.applied = Some(1);
        assert_eq!(sandbox.error_reason(), None);
        sandbox.network.set(crate::NetworkPolicy {
            block_all: true,
            ..crate::NetworkPolicy::default()
        });
        let reason = sandbox.error_reason().unwrap_or_default();
        assert!(
            reason.contains("version 2 of the network policy"),
            "{reason}"
        );
        sandbox.lifecycle.phase = Phase::Stopped { fault: None };
        assert_eq!(sandbox.error_reason(), None, "the next start brings it");
    }

    #[test]
    fn an_end_that_was_set_for_a_run_goes_with_it_and_is_no_forks() {
        let born = Timestamp::UNIX_EPOCH;
        let mut sandbox = sample(born);
        sandbox.stop_at = Some(born);
        let id = SandboxId::from_uuid(uuid::Uuid::from_u128(9));
        assert_eq!(sandbox.fork(id, "f".to_owned(), born).stop_at, None);
        let failed = || Phase::Error {
            fault: crate::Fault::new(crate::FaultCode::Internal, "it did not come up in time"),
            has_disk: true,
        };
        let (up, down) = (DesiredState::Started, DesiredState::Stopped);
        for (phase, desired, kept) in [
            (Phase::Started, up, Some(born)),
            (failed(), up, Some(born)),
            (Phase::Stopping, down, Some(born)),
            (Phase::Stopped { fault: None }, down, None),
            (failed(), down, None),
        ] {
            sandbox.stop_at = Some(born);
            sandbox.lifecycle.phase = phase;
            sandbox.lifecycle.desired = desired;
            sandbox.forget_run();
            assert_eq!(sandbox.stop_at, kept);
        }
    }

    #[test]
    fn a_fork_of_what_is_not_finished_is_finished_itself() {
        let mut sandbox = sample(Timestamp::UNIX_EPOCH);
        sandbox.is_unfinished = true;
        let id = SandboxId::from_uuid(uuid::Uuid::from_u128(9));
        let fork = sandbox.fork(id, "f".to_owned(), Timestamp::UNIX_EPOCH);
        assert!(!fork.is_unfinished);
    }

    #[test]
    fn a_fork_takes_over_all_but_name_visibility_and_age() {
        let born = Timestamp::UNIX_EPOCH;
        let later = crate::interval::after_minutes(born, 60);
        let mut parent = sample(born);
        parent.is_public = true;
        parent.env.insert("A".to_owned(), "1".to_owned());
        parent.set_ttl(Some(5), born);
        parent.network.set(crate::NetworkPolicy {
            block_all: true,
            ..crate::NetworkPolicy::default()
        });
        parent.network.applied = Some(2);
        parent.linked_to = Some(SandboxId::from_uuid(uuid::Uuid::from_u128(8)));
        let id = SandboxId::from_uuid(uuid::Uuid::from_u128(9));
        let child = parent.fork(id.clone(), "child".to_owned(), later);
        assert_eq!(child.parent_id, Some(parent.id.clone()));
        assert_eq!((&child.id, child.name.as_str()), (&id, "child"));
        assert!(!child.is_public);
        assert_eq!(child.linked_to, None);
        assert_eq!(child.env, parent.env);
        assert_eq!(child.network.policy, parent.network.policy);
        assert_eq!(child.network.applied, None);
        assert_eq!(child.lifecycle.phase, Phase::Unknown);
        assert_eq!(child.state(), SandboxState::Creating);
        assert_eq!(
            child.auto_destroy_at,
            Some(crate::interval::after_minutes(later, 5))
        );
    }
}
