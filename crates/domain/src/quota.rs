//! What sandboxes count against the limits of their organization, and what is refused at a limit.
//!
//! What counts follows from a sandbox's state alone, so a ledger of it can be changed with the state and
//! counted again at any time. Limits are asked only where something grows (a create, a start, a fork, a resize):
//! what runs is never ended because a limit was lowered, and a stop is never refused.

use jiff::Timestamp;

use crate::{DesiredState, Phase, Resources, Sandbox, SandboxClass, SandboxId, SandboxState};

/// Amounts counted for one sandbox, or for all of one organization, region and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Sandboxes that exist, whatever they do.
    pub sandboxes: u64,
    pub cpu_cores: u64,
    pub memory_gib: u64,
    pub disk_gib: u64,
    pub gpu: u64,
}

/// What one sandbox counted from one moment to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePeriod {
    pub sandbox: SandboxId,
    /// Region id.
    pub region: String,
    pub class: SandboxClass,
    pub cpu_cores: u64,
    pub memory_gib: u64,
    pub disk_gib: u64,
    pub gpu: u64,
    pub started_at: Timestamp,
    /// None while it goes on.
    pub ended_at: Option<Timestamp>,
}

impl Usage {
    /// What a sandbox counts as it is.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self::in_state(
            sandbox.lifecycle.phase.state(),
            sandbox.lifecycle.desired,
            matches!(sandbox.lifecycle.phase, Phase::Error { has_disk: true, .. }),
            &Self::sizes(&sandbox.lifecycle.phase, sandbox.resources),
        )
    }

    /// The sizes that count: while a sandbox gets others, what it has or what it gets, whichever is more.
    pub fn sizes(phase: &Phase, has: Resources) -> Resources {
        match phase {
            Phase::Resizing { to } => has.max(*to),
            _ => has,
        }
    }

    /// What a sandbox of these sizes counts in a stored state. `has_disk` means something in `error` only: there
    /// the host may still keep the disk, and then it counts.
    pub fn in_state(
        state: SandboxState,
        desired: DesiredState,
        has_disk: bool,
        resources: &Resources,
    ) -> Self {
        let computes = computes(state, desired);
        let stores = computes || stores(state) || (state == SandboxState::Error && has_disk);
        let exists = !matches!(state, SandboxState::Destroying | SandboxState::Destroyed);
        let if_counted = |is_counted: bool, amount: u32| u64::from(amount) * u64::from(is_counted);
        Self {
            sandboxes: u64::from(exists),
            cpu_cores: if_counted(computes, resources.cpu_cores),
            memory_gib: if_counted(computes, resources.memory_gib),
            disk_gib: if_counted(stores, resources.disk_gib),
            gpu: if_counted(computes, resources.gpu),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            sandboxes: self.sandboxes.saturating_add(other.sandboxes),
            cpu_cores: self.cpu_cores.saturating_add(other.cpu_cores),
            memory_gib: self.memory_gib.saturating_add(other.memory_gib),
            disk_gib: self.disk_gib.saturating_add(other.disk_gib),
            gpu: self.gpu.saturating_add(other.gpu),
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether processor, memory and GPU count.
fn computes(state: SandboxState, desired: DesiredState) -> bool {
    match state {
        SandboxState::Creating
        | SandboxState::Restoring
        | SandboxState::Started
        | SandboxState::Starting
        | SandboxState::Stopping
        | SandboxState::PendingBuild
        | SandboxState::BuildingSnapshot
        | SandboxState::Unknown
        | SandboxState::PullingSnapshot
        | SandboxState::Forking
        | SandboxState::Pausing
        | SandboxState::Resuming => true,
        SandboxState::Resizing | SandboxState::Snapshotting => desired == DesiredState::Started,
        SandboxState::Stopped
        | SandboxState::Paused
        | SandboxState::Archiving
        | SandboxState::Archived
        | SandboxState::Error
        | SandboxState::BuildFailed
        | SandboxState::Destroying
        | SandboxState::Destroyed => false,
    }
}

/// Whether only the disk counts.
fn stores(state: SandboxState) -> bool {
    matches!(
        state,
        SandboxState::Stopped
            | SandboxState::Paused
            | SandboxState::Archiving
            | SandboxState::Resizing
            | SandboxState::Snapshotting
    )
}

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Cpu,
    Memory,
    Disk,
    Gpu,
    Sandboxes,
}

impl Resource {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Gpu => "GPU",
            Self::Sandboxes => "sandbox",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Memory | Self::Disk => "GiB",
            Self::Cpu | Self::Gpu | Self::Sandboxes => "",
        }
    }
}

/// Limits of one organization in one region and class. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    pub total_sandboxes: Option<u64>,
    pub total_cpu_cores: Option<u64>,
    pub total_memory_gib: Option<u64>,
    pub total_disk_gib: Option<u64>,
    pub total_gpu: Option<u64>,
    pub sandbox_cpu_cores: Option<u32>,
    pub sandbox_memory_gib: Option<u32>,
    pub sandbox_disk_gib: Option<u32>,
    /// For sandboxes that outlive their stop; 0 permits ephemeral ones only.
    pub sandbox_lasting_disk_gib: Option<u32>,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaExceeded {
    #[error("Total {} limit exceeded. Maximum allowed: {limit}{}.", .resource.name(), .resource.unit())]
    Total { resource: Resource, limit: u64 },
    #[error("{} request {asked}{unit} exceeds maximum allowed per sandbox ({limit}{unit}).",
        capital(.resource.name()), unit = .resource.unit())]
    PerSandbox {
        resource: Resource,
        asked: u32,
        limit: u32,
    },
    #[error("Only ephemeral sandboxes are permitted in this region")]
    OnlyEphemeral,
    #[error("Snapshot quota exceeded. Maximum allowed: {limit}")]
    Snapshots { limit: u64 },
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

impl Quota {
    /// Whether one sandbox may be that large.
    ///
    /// # Errors
    /// The first limit that it passes.
    pub fn check_sandbox(
        &self,
        resources: &Resources,
        is_ephemeral: bool,
    ) -> Result<(), QuotaExceeded> {
        let lasting = self.sandbox_lasting_disk_gib.filter(|_| !is_ephemeral);
        if lasting == Some(0) {
            return Err(QuotaExceeded::OnlyEphemeral);
        }
        let sizes = [
            (Resource::Cpu, resources.cpu_cores, self.sandbox_cpu_cores),
            (
                Resource::Memory,
                resources.memory_gib,
                self.sandbox_memory_gib,
            ),
            (Resource::Disk, resources.disk_gib, self.sandbox_disk_gib),
            (Resource::Disk, resources.disk_gib, lasting),
        ];
        for (resource, asked, limit) in sizes {
            if let Some(limit) = limit
                && asked > limit
            {
                return Err(QuotaExceeded::PerSandbox {
                    resource,
                    asked,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Whether the totals may be what they are after one sandbox went from `before` to `after`. Only what grew is
    /// looked at: a limit that was lowered below its use stands in the way of more, not of less.
    ///
    /// # Errors
    /// The first limit that is passed.
    pub fn check_totals(
        &self,
        totals: &Usage,
        before: &Usage,
        after: &Usage,
    ) -> Result<(), QuotaExceeded> {
        let amounts = [
            (
                Resource::Sandboxes,
                (before.sandboxes, after.sandboxes, totals.sandboxes),
                self.total_sandboxes,
            ),
            (
                Resource::Cpu,
                (before.cpu_cores, after.cpu_cores, totals.cpu_cores),
                self.total_cpu_cores,
            ),
            (
                Resource::Memory,
                (before.memory_gib, after.memory_gib, totals.memory_gib),
                self.total_memory_gib,
            ),
            (
                Resource::Disk,
                (before.disk_gib, after.disk_gib, totals.disk_gib),
                self.total_disk_gib,
            ),
            (
                Resource::Gpu,
                (before.gpu, after.gpu, totals.gpu),
                self.total_gpu,
            ),
        ];
        for (resource, (before, after, total), limit) in amounts {
            if let Some(limit) = limit
                && after > before
                && total > limit
            {
                return Err(QuotaExceeded::Total { resource, limit });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Resources = Resources {
        cpu_cores: 2,
        memory_gib: 4,
        disk_gib: 8,
        gpu: 1,
    };

    fn counted(state: SandboxState, desired: DesiredState, has_disk: bool) -> (u64, u64, u64) {
        let usage = Usage::in_state(state, desired, has_disk, &SIZES);
        assert_eq!(usage.cpu_cores * 2, usage.memory_gib, "{state:?}");
        assert_eq!(usage.cpu_cores, usage.gpu * 2, "{state:?}");
        (usage.sandboxes, usage.cpu_cores, usage.disk_gib)
    }

    #[test]
    fn what_runs_counts_whole_and_what_is_stopped_counts_its_disk() {
        use DesiredState as D;
        use SandboxState as S;
        assert_eq!(counted(S::Creating, D::Started, false), (1, 2, 8));
        assert_eq!(counted(S::Stopping, D::Stopped, false), (1, 2, 8));
        assert_eq!(counted(S::Stopped, D::Stopped, false), (1, 0, 8));
        assert_eq!(counted(S::Resizing, D::Started, false), (1, 2, 8));
        assert_eq!(counted(S::Resizing, D::Stopped, false), (1, 0, 8));
        assert_eq!(counted(S::Archived, D::Archived, false), (1, 0, 0));
        assert_eq!(counted(S::Error, D::Started, false), (1, 0, 0));
        assert_eq!(counted(S::Error, D::Started, true), (1, 0, 8));
        assert_eq!(counted(S::Destroying, D::Destroyed, true), (0, 0, 0));
        assert_eq!(counted(S::Destroyed, D::Destroyed, true), (0, 0, 0));
    }

    #[test]
    fn only_what_grows_is_held_against_a_limit() {
        let quota = Quota {
            total_cpu_cores: Some(3),
            total_disk_gib: Some(10),
            ..Quota::default()
        };
        let stopped = Usage::in_state(SandboxState::Stopped, DesiredState::Stopped, false, &SIZES);
        let started = Usage::in_state(SandboxState::Starting, DesiredState::Started, false, &SIZES);
        let totals = |cpu_cores, disk_gib| Usage {
            cpu_cores,
            disk_gib,
            ..Usage::default()
        };
        // Over the limit of disks already: a start needs none.
        let check = quota.check_totals(&totals(3, 99), &stopped, &started);
        assert_eq!(check, Ok(()));
        let refused = quota.check_totals(&totals(4, 99), &stopped, &started);
        let message = refused.map_err(|error| error.to_string());
        let expected = "Total CPU limit exceeded. Maximum allowed: 3.";
        assert_eq!(message, Err(expected.to_owned()));
        let refused = quota.check_totals(&totals(2, 16), &Usage::default(), &started);
        let message = refused.map_err(|error| error.to_string());
        let expected = "Total disk limit exceeded. Maximum allowed: 10GiB.";
        assert_eq!(message, Err(expected.to_owned()));
    }

    #[test]
    fn one_sandbox_may_be_too_large_by_itself() {
        let quota = Quota {
            sandbox_memory_gib: Some(2),
            sandbox_lasting_disk_gib: Some(0),
            ..Quota::default()
        };
        let words = |is_ephemeral| {
            let refused = quota.check_sandbox(&SIZES, is_ephemeral);
            refused.map_err(|error| error.to_string())
        };
        let large = "Memory request 4GiB exceeds maximum allowed per sandbox (2GiB).";
        assert_eq!(words(true), Err(large.to_owned()));
        let lasting = "Only ephemeral sandboxes are permitted in this region";
        assert_eq!(words(false), Err(lasting.to_owned()));
        assert_eq!(Quota::default().check_sandbox(&SIZES, false), Ok(()));
    }
}
