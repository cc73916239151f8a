//! Linked sandboxes: one that is made for another, beside it, and gone with it.
//!
//! The other is its owner. The link is part of the follower for life: an owner knows nothing of it, a fork does not
//! take it over. Along it the two reach each other; followers of one owner do not.

use crate::{Intervals, Reason, Sandbox, SandboxState};

/// Sandboxes that are linked with one owner at once. All of them are told to the firewall with a change of the owner's,
/// in one message.
pub const FOLLOWERS_MAX: usize = 16;

/// What the check of a link needs to know.
#[derive(Debug, Clone, Copy)]
pub struct LinkFacts<'a> {
    pub owner: &'a Sandbox,
    /// How many follow it already.
    pub followers: usize,
    /// Where the new sandbox is to be.
    pub region: &'a str,
}

/// Checks a link of a new sandbox: what it is itself, and its owner.
pub(crate) fn check(facts: LinkFacts<'_>, intervals: Intervals, reasons: &mut Vec<Reason>) {
    if !intervals.is_ephemeral() {
        reasons.push(Reason::invalid(
            "A linked sandbox must be ephemeral: set autoDeleteInterval to 0",
        ));
    }
    check_owner(facts, reasons);
}

/// Checks whether a sandbox may be the owner of one more. It may have changed since it was looked at first.
pub fn check_owner(facts: LinkFacts<'_>, reasons: &mut Vec<Reason>) {
    let owner = facts.owner;
    let mut refuse = |why: String| {
        reasons.push(Reason::invalid(format!(
            "Cannot link with sandbox {}: {why}",
            owner.name
        )));
    };
    if owner.linked_to.is_some() {
        refuse("it is linked with another one itself".to_owned());
    }
    if !matches!(owner.state(), SandboxState::Started | SandboxState::Stopped) {
        refuse(format!(
            "it must be started or stopped, and is {}",
            owner.state()
        ));
    }
    if owner.region != facts.region {
        refuse("it is in another region".to_owned());
    }
    if owner.resources.gpu > 0 {
        refuse("it has a GPU".to_owned());
    }
    if facts.followers >= FOLLOWERS_MAX {
        refuse(format!("{FOLLOWERS_MAX} sandboxes are linked with it"));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Phase, SandboxId};

    fn owner() -> Sandbox {
        let mut owner = crate::sandbox::sample(Timestamp::UNIX_EPOCH);
        owner.lifecycle.phase = Phase::Started;
        owner
    }

    fn refusals(owner: &Sandbox, followers: usize, auto_delete_minutes: Option<u32>) -> String {
        let facts = LinkFacts {
            owner,
            followers,
            region: "us",
        };
        let intervals = Intervals {
            auto_delete_minutes,
            ..Intervals::default()
        };
        let mut reasons = Vec::new();
        check(facts, intervals, &mut reasons);
        let messages: Vec<String> = reasons.into_iter().map(|reason| reason.message).collect();
        messages.join("; ")
    }

    #[test]
    fn a_started_or_a_stopped_sandbox_may_be_followed() {
        let mut owner = owner();
        assert_eq!(refusals(&owner, FOLLOWERS_MAX - 1, Some(0)), "");
        owner.lifecycle.phase = Phase::Stopped { fault: None };
        owner.lifecycle.desired = crate::DesiredState::Stopped;
        assert_eq!(refusals(&owner, 0, Some(0)), "");
    }

    #[test]
    fn each_thing_that_stands_against_a_link_is_named() {
        let good = owner();
        assert!(refusals(&good, 0, None).contains("ephemeral"));
        assert!(refusals(&good, 0, Some(5)).contains("ephemeral"));
        assert!(refusals(&good, FOLLOWERS_MAX, Some(0)).contains("16 sandboxes"));
        let refused = |change: fn(&mut Sandbox)| {
            let mut owner = owner();
            change(&mut owner);
            refusals(&owner, 0, Some(0))
        };
        let id =
            |owner: &mut Sandbox| owner.linked_to = Some(SandboxId::from_uuid(uuid::Uuid::nil()));
        assert!(refused(id).contains("linked with another one"));
        assert!(refused(|owner| owner.region = "eu".to_owned()).contains("another region"));
        assert!(refused(|owner| owner.resources.gpu = 1).contains("GPU"));
        for phase in [
            Phase::Creating,
            Phase::Paused,
            Phase::Archived,
            Phase::Destroying,
        ] {
            let mut owner = owner();
            owner.lifecycle.phase = phase;
            assert!(refusals(&owner, 0, Some(0)).contains("started or stopped"));
        }
        let mut leaving = owner();
        leaving.lifecycle.desired = crate::DesiredState::Destroyed;
        let words = refusals(&leaving, 0, Some(0));
        assert!(words.contains("started or stopped"), "{words}");
    }
}
