//! Hosts that sandboxes run on, as the control plane knows them.
//!
//! The first is part of the server. Others are registered in a region of an organization and join from processes of their
//! own (docs/adr/0044, 0053).

mod capability;
mod jobs;
mod placing;
mod score;

use jiff::{SignedDuration, Timestamp};

use crate::region::check_place_name;
use crate::{OrganizationId, Reason, RunnerId, ServiceKeyHash, text};

pub use capability::{Capabilities, Capability, Needs};
pub use jobs::{JobsAsked, JobsPart, WorkAsked};
pub use placing::{Candidate, Overcommit, PlacingRules, choose};
pub use score::availability;

/// Runners of one region.
pub const RUNNERS_MAX: usize = 1_000;
/// Words that one runner can be marked with.
const TAGS_MAX: usize = 50;
/// Who has not been heard of for so long does not answer.
pub const SILENCE: SignedDuration = SignedDuration::from_secs(60);
/// What is spoken with runners: they ask for their work.
pub const API_VERSION: &str = "2";
/// Shortest key that an administrator can choose for a runner.
const KEY_MIN_BYTES: usize = 32;
const KEY_MAX_BYTES: usize = 512;
/// How often in a row a host that is drained must be found empty.
pub const CLEAN_LOOKS: u32 = 3;

/// How a runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerState {
    /// It was not heard of yet.
    Initializing,
    Ready,
    /// It was not heard of for long, or says itself that something does not work.
    Unresponsive,
    /// Drained, and empty.
    Decommissioned,
}

impl RunnerState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Ready => "ready",
            Self::Unresponsive => "unresponsive",
            Self::Decommissioned => "decommissioned",
        }
    }
}

/// What a host has. Thousandths of a processor and MiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_mib: u64,
    pub disk_mib: u64,
    pub gpu: u32,
}

/// What a host does, as it says itself or as the ledger has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Tasks that run or want to, on average, for each processor.
    pub load_average: f64,
    /// Of the whole host, 0 to 100.
    pub cpu_percent: f64,
    pub memory_percent: f64,
    pub disk_percent: f64,
    /// What sandboxes were promised.
    pub allocated_cpu: f64,
    pub allocated_memory_gib: f64,
    pub allocated_disk_gib: f64,
    pub snapshots: u64,
    pub started_sandboxes: u64,
}

/// Where a runner says that it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunnerAddress {
    pub domain: Option<String>,
    pub api_url: Option<String>,
    pub proxy_url: Option<String>,
}

/// A host that sandboxes run on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the operator's switches, each for itself"
)]
pub struct Runner {
    pub id: RunnerId,
    /// Region id.
    pub region: String,
    /// Whose region it is. None for the server's own.
    pub organization_id: Option<OrganizationId>,
    pub name: String,
    /// Whether it is part of the server.
    pub is_built_in: bool,
    /// What it comes with. The one that is part of the server needs none.
    pub key: Option<ServiceKeyHash>,
    pub tags: Vec<String>,
    pub address: RunnerAddress,
    pub is_unschedulable: bool,
    pub is_draining: bool,
    pub is_decommissioned: bool,
    pub capacity: Capacity,
    pub gpu_type: Option<String>,
    /// None if it has not said so yet.
    pub capabilities: Option<Capabilities>,
    /// Version of its program.
    pub app_version: Option<String>,
    /// What it last said that does not work.
    pub fault: Option<String>,
    /// The data folder that joined with its key: the sandboxes that are on it are there.
    pub instance: Option<String>,
    /// When it was last heard of.
    pub heard_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What somebody wants of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placing {
    /// To take a sandbox that it does not have: a new one, a copy, one that comes back from the archive.
    Take,
    /// To start one that it has.
    Start,
}

impl Runner {
    pub fn state(&self, now: Timestamp) -> RunnerState {
        if self.is_decommissioned {
            return RunnerState::Decommissioned;
        }
        match self.heard_at {
            None => RunnerState::Initializing,
            Some(at) if now.duration_since(at) > SILENCE => RunnerState::Unresponsive,
            Some(_) if self.fault.is_some() => RunnerState::Unresponsive,
            Some(_) => RunnerState::Ready,
        }
    }

    /// The same of one that may have come over a link: such a one is there as long as its link is.
    pub fn state_by_link(&self, now: Timestamp, is_linked: bool) -> RunnerState {
        match self.state(now) {
            RunnerState::Ready if self.instance.is_some() && !is_linked => {
                RunnerState::Unresponsive
            }
            state => state,
        }
    }

    /// Whether the operator's switches let it do this. One that only takes no more still starts what it has; one that is
    /// to become empty does not.
    pub fn lets(&self, placing: Placing) -> bool {
        let is_going = self.is_draining || self.is_decommissioned;
        match placing {
            Placing::Take => !self.is_unschedulable && !is_going,
            Placing::Start => !is_going,
        }
    }

    /// # Errors
    /// Why it cannot be deleted. With `force` it need not be closed to new sandboxes nor empty, but must have left `ready`.
    pub fn check_delete(
        &self,
        force: bool,
        has_sandboxes: bool,
        now: Timestamp,
    ) -> Result<(), Reason> {
        if self.is_built_in {
            return Err(Reason::invalid(
                "This runner is part of the server and cannot be deleted",
            ));
        }
        if force && self.state(now) == RunnerState::Ready {
            return Err(Reason::invalid(
                "A runner that is ready cannot be deleted by force",
            ));
        }
        if !force && !self.is_unschedulable {
            return Err(Reason::invalid(
                "Cannot delete runner which is available for scheduling sandboxes",
            ));
        }
        if !force && has_sandboxes {
            return Err(Reason::invalid(
                "Cannot delete a runner that has sandboxes; by force, they are lost with it",
            ));
        }
        Ok(())
    }
}

/// A runner as somebody asks for it. Nothing is checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRunner {
    pub region: String,
    pub name: String,
    pub tags: Vec<String>,
    /// The kind of sandbox that it is to run.
    pub class: Option<String>,
    /// Its key, where an administrator brings one.
    pub key: Option<String>,
    /// What it is to be spoken with.
    pub api_version: Option<String>,
    pub address: RunnerAddress,
    pub capacity: Capacity,
}

impl NewRunner {
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<(), Vec<Reason>> {
        let mut reasons = Vec::new();
        check_place_name(&self.name, &mut reasons);
        if self.tags.len() > TAGS_MAX {
            reasons.push(Reason::invalid(format!("at most {TAGS_MAX} tags")));
        }
        for tag in &self.tags {
            if tag.trim().is_empty() || tag.len() > text::NAME_MAX_BYTES {
                reasons.push(Reason::invalid(format!(
                    "each of tags must have 1 to {} bytes",
                    text::NAME_MAX_BYTES
                )));
            }
            text::check_display("tags", tag, &mut reasons);
        }
        if let Some(class) = &self.class
            && class != "container"
        {
            reasons.push(Reason::unsupported(format!(
                "sandboxClass {class} is not offered: runners here are for containers"
            )));
        }
        match self.api_version.as_deref() {
            None | Some(API_VERSION) => {}
            Some("0") => reasons.push(Reason::unsupported(
                "apiVersion 0 is not offered: runners ask for their work, and are not called",
            )),
            Some(_) => reasons.push(Reason::invalid("apiVersion must be 0 or 2")),
        }
        if let Some(key) = &self.key
            && (!(KEY_MIN_BYTES..=KEY_MAX_BYTES).contains(&key.len())
                || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            reasons.push(Reason::invalid(format!(
                "apiKey must have {KEY_MIN_BYTES} to {KEY_MAX_BYTES} characters and no spaces"
            )));
        }
        self.address.check(&mut reasons);
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }
}

impl RunnerAddress {
    /// Checks what is told to others.
    pub fn check(&self, reasons: &mut Vec<Reason>) {
        let web = &["http", "https"];
        for (field, url) in [("apiUrl", &self.api_url), ("proxyUrl", &self.proxy_url)] {
            if let Some(url) = url {
                crate::region::check_url(field, url, web, reasons);
            }
        }
        if let Some(domain) = &self.domain
            && (domain.is_empty()
                || domain.len() > text::NAME_MAX_BYTES
                || !domain
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)))
        {
            reasons.push(Reason::invalid("domain must be a host name"));
        }
    }
}

/// What a runner says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    pub app_version: String,
    pub address: RunnerAddress,
    pub report: Option<(Capacity, Load)>,
    pub gpu_type: Option<String>,
    /// None if it does not say that: what it said before stays true.
    pub capabilities: Option<Capabilities>,
    /// What does not work, if anything.
    pub fault: Option<String>,
}

impl Heartbeat {
    /// # Errors
    /// Everything that is no number of a host, or no address.
    pub fn check(&self) -> Result<(), Vec<Reason>> {
        let mut reasons = Vec::new();
        self.address.check(&mut reasons);
        for (field, words) in [
            ("appVersion", Some(&self.app_version)),
            ("gpuType", self.gpu_type.as_ref()),
            ("errorReason", self.fault.as_ref()),
            (
                "architecture",
                self.capabilities.as_ref().map(|said| &said.architecture),
            ),
        ] {
            if let Some(words) = words {
                text::check_text(field, words, &mut reasons);
            }
        }
        if let Some((_, load)) = &self.report {
            let numbers = [
                load.load_average,
                load.cpu_percent,
                load.memory_percent,
                load.disk_percent,
                load.allocated_cpu,
                load.allocated_memory_gib,
                load.allocated_disk_gib,
            ];
            if !numbers
                .iter()
                .all(|number| number.is_finite() && *number >= 0.0)
            {
                reasons.push(Reason::invalid("metrics must be numbers, 0 or more"));
            }
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn runner() -> Runner {
        Runner {
            id: "r".parse().unwrap(),
            region: "lab_abcd".to_owned(),
            organization_id: Some("o".parse().unwrap()),
            name: "rack-1".to_owned(),
            is_built_in: false,
            key: None,
            tags: Vec::new(),
            address: RunnerAddress::default(),
            is_unschedulable: false,
            is_draining: false,
            is_decommissioned: false,
            capacity: Capacity::default(),
            gpu_type: None,
            capabilities: None,
            app_version: None,
            fault: None,
            instance: None,
            heard_at: None,
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn the_state_follows_from_when_it_was_heard_of_and_what_it_said() {
        let mut runner = runner();
        assert_eq!(runner.state(at(5)), RunnerState::Initializing);
        runner.heard_at = Some(at(5));
        assert_eq!(runner.state(at(65)), RunnerState::Ready);
        assert_eq!(runner.state(at(66)), RunnerState::Unresponsive);
        assert_eq!(runner.state_by_link(at(65), false), RunnerState::Ready);
        runner.instance = Some("folder".to_owned());
        assert_eq!(runner.state_by_link(at(65), true), RunnerState::Ready);
        assert_eq!(
            runner.state_by_link(at(65), false),
            RunnerState::Unresponsive
        );
        runner.fault = Some("disk: gone".to_owned());
        assert_eq!(runner.state(at(6)), RunnerState::Unresponsive);
        runner.is_decommissioned = true;
        assert_eq!(runner.state(at(6)), RunnerState::Decommissioned);
    }

    #[test]
    fn one_that_takes_no_more_starts_what_it_has_and_one_that_is_drained_does_not() {
        let mut runner = runner();
        assert!(runner.lets(Placing::Take) && runner.lets(Placing::Start));
        runner.is_unschedulable = true;
        assert!(!runner.lets(Placing::Take) && runner.lets(Placing::Start));
        runner.is_unschedulable = false;
        runner.is_draining = true;
        assert!(!runner.lets(Placing::Take) && !runner.lets(Placing::Start));
        runner.is_draining = false;
        runner.is_decommissioned = true;
        assert!(!runner.lets(Placing::Take) && !runner.lets(Placing::Start));
    }

    #[test]
    fn what_is_ready_or_open_to_new_sandboxes_is_not_deleted() {
        let mut runner = runner();
        runner.heard_at = Some(at(0));
        assert!(runner.check_delete(false, false, at(1)).is_err());
        assert!(runner.check_delete(true, false, at(1)).is_err());
        assert!(runner.check_delete(true, false, at(100)).is_ok());
        runner.is_unschedulable = true;
        assert!(runner.check_delete(false, false, at(1)).is_ok());
        runner.is_built_in = true;
        assert!(runner.check_delete(false, false, at(1)).is_err());
        assert!(runner.check_delete(true, false, at(100)).is_err());
    }

    #[test]
    fn a_request_is_refused_for_everything_that_is_wrong_with_it() {
        let fine = NewRunner {
            name: "rack-1".to_owned(),
            tags: vec!["ssd".to_owned()],
            class: Some("container".to_owned()),
            ..NewRunner::default()
        };
        assert_eq!(fine.check(), Ok(()));
        let wrong = NewRunner {
            name: "x".to_owned(),
            tags: vec![String::new(), "<b>x</b>".to_owned()],
            class: Some("windows".to_owned()),
            key: Some("short".to_owned()),
            api_version: Some("3".to_owned()),
            address: RunnerAddress {
                domain: Some("a b".to_owned()),
                api_url: Some("nowhere".to_owned()),
                proxy_url: Some("ftp://x".to_owned()),
            },
            ..NewRunner::default()
        };
        assert_eq!(wrong.check().unwrap_err().len(), 9);
    }

    #[test]
    fn numbers_of_a_heartbeat_are_those_of_a_host() {
        let beat = |cpu_percent| Heartbeat {
            app_version: "1".to_owned(),
            address: RunnerAddress::default(),
            report: Some((
                Capacity::default(),
                Load {
                    cpu_percent,
                    ..Load::default()
                },
            )),
            gpu_type: None,
            capabilities: None,
            fault: None,
        };
        assert_eq!(beat(12.5).check(), Ok(()));
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(beat(wrong).check().is_err());
        }
    }
}
