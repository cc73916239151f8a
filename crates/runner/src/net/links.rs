//! Who is linked with whom, among the slots that have a policy.
//!
//! A follower's order names its owner; of the owner nothing need be told. Two are neighbours while both have a slot,
//! whichever came first. Whether they may talk is for their policies to say ([`super::policy`]).

use std::collections::{BTreeMap, BTreeSet};

use alcove_domain::{HostName, SandboxId};
use alcove_runner_api::{NetworkSpec, Peer};

use super::config::SlotIndex;

/// The end of the names by which linked sandboxes find each other. It is set aside for private use: nobody outside can
/// have a name below it, and questions for one are not passed on.
const ZONE: &str = ".sandbox.internal";

/// What a name below the zone begins with; `None` for all other names.
pub(super) fn peer_label(name: &HostName) -> Option<&str> {
    name.as_str().strip_suffix(ZONE)
}

/// The holders of slots and their links.
#[derive(Debug, Default)]
pub(super) struct Links {
    members: BTreeMap<SlotIndex, Member>,
    /// The slot of each sandbox. One that was started again is in the newer of its two for as long as the older one
    /// takes to go.
    slots: BTreeMap<SandboxId, SlotIndex>,
    followers: BTreeMap<SandboxId, BTreeSet<SlotIndex>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    peer: Peer,
    linked_to: Option<SandboxId>,
}

impl Links {
    /// Puts the holder of a slot in the place of the one before.
    pub fn set(&mut self, slot: SlotIndex, spec: &NetworkSpec) {
        self.remove(slot);
        let Some(peer) = spec.peer.clone() else {
            return;
        };
        self.slots.insert(peer.sandbox.clone(), slot);
        if let Some(owner) = &spec.linked_to {
            let followers = self.followers.entry(owner.clone()).or_default();
            followers.insert(slot);
        }
        let linked_to = spec.linked_to.clone();
        self.members.insert(slot, Member { peer, linked_to });
    }

    pub fn remove(&mut self, slot: SlotIndex) {
        let Some(member) = self.members.remove(&slot) else {
            return;
        };
        if self.slots.get(&member.peer.sandbox) == Some(&slot) {
            self.slots.remove(&member.peer.sandbox);
        }
        if let Some(owner) = member.linked_to
            && let Some(followers) = self.followers.get_mut(&owner)
        {
            followers.remove(&slot);
            if followers.is_empty() {
                self.followers.remove(&owner);
            }
        }
    }

    /// Those at the other ends of the links of a slot's holder.
    pub fn neighbours(&self, slot: SlotIndex) -> BTreeSet<SlotIndex> {
        let Some(member) = self.members.get(&slot) else {
            return BTreeSet::new();
        };
        // The holder of a slot that is on its way out is linked with nobody any more.
        if self.slots.get(&member.peer.sandbox) != Some(&slot) {
            return BTreeSet::new();
        }
        let owner = member.linked_to.as_ref();
        let owner = owner.and_then(|owner| self.slots.get(owner));
        let followers = self.followers.get(&member.peer.sandbox);
        let followers = followers.into_iter().flatten();
        let is_current = |follower: &&SlotIndex| {
            let member = self.members.get(follower);
            member.is_some_and(|member| self.slots.get(&member.peer.sandbox) == Some(follower))
        };
        owner
            .into_iter()
            .chain(followers.filter(is_current))
            .copied()
            .filter(|other| *other != slot)
            .collect()
    }

    /// The one of these that is called so, by id or by name; `None` also where two are.
    pub fn find(&self, among: &BTreeSet<SlotIndex>, label: &str) -> Option<SlotIndex> {
        let peers = || {
            among
                .iter()
                .filter_map(|slot| Some((*slot, &self.members.get(slot)?.peer)))
        };
        let mut by_id = peers().filter(|(_, peer)| peer.sandbox.as_str() == label);
        if let Some((slot, _)) = by_id.next() {
            return Some(slot);
        }
        // Names of hosts have no case, those of sandboxes do.
        let mut named = peers().filter(|(_, peer)| peer.name.eq_ignore_ascii_case(label));
        let (slot, _) = named.next()?;
        named.next().is_none().then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> SandboxId {
        format!("00000000-0000-4000-8000-{number:012x}")
            .parse()
            .unwrap()
    }

    fn spec(number: u16, owner: Option<u16>) -> NetworkSpec {
        NetworkSpec {
            peer: Some(Peer {
                sandbox: id(number),
                name: format!("Box-{number}"),
            }),
            linked_to: owner.map(id),
            ..NetworkSpec::default()
        }
    }

    fn slots(numbers: &[u16]) -> BTreeSet<SlotIndex> {
        numbers.iter().copied().map(SlotIndex).collect()
    }

    #[test]
    fn the_two_ends_are_neighbours_whichever_came_first_and_followers_are_not() {
        let mut links = Links::default();
        links.set(SlotIndex(1), &spec(1, Some(3)));
        assert_eq!(links.neighbours(SlotIndex(1)), slots(&[]));
        links.set(SlotIndex(3), &spec(3, None));
        links.set(SlotIndex(2), &spec(2, Some(3)));
        links.set(SlotIndex(4), &spec(4, None));
        links.set(SlotIndex(5), &NetworkSpec::default());
        let neighbours = |slot| links.neighbours(SlotIndex(slot));
        assert_eq!(neighbours(3), slots(&[1, 2]));
        assert_eq!([1, 2].map(neighbours), [slots(&[3]), slots(&[3])]);
        assert_eq!([4, 5].map(neighbours), [slots(&[]), slots(&[])]);
    }

    #[test]
    fn who_starts_again_is_followed_in_the_new_slot_also_when_the_old_one_goes_late() {
        let mut links = Links::default();
        links.set(SlotIndex(1), &spec(1, None));
        links.set(SlotIndex(2), &spec(2, Some(1)));
        links.set(SlotIndex(7), &spec(1, None));
        assert_eq!(links.neighbours(SlotIndex(2)), slots(&[7]));
        assert_eq!(links.neighbours(SlotIndex(1)), slots(&[]));
        links.remove(SlotIndex(1));
        assert_eq!(links.neighbours(SlotIndex(2)), slots(&[7]));
        links.set(SlotIndex(8), &spec(2, Some(1)));
        assert_eq!(links.neighbours(SlotIndex(7)), slots(&[8]));
        links.remove(SlotIndex(8));
        assert_eq!(links.neighbours(SlotIndex(7)), slots(&[]));
    }

    #[test]
    fn a_peer_is_found_by_id_and_by_a_name_that_is_the_only_one() {
        let mut links = Links::default();
        links.set(SlotIndex(1), &spec(1, None));
        links.set(SlotIndex(2), &spec(2, Some(1)));
        let mut other = spec(3, Some(1));
        links.set(SlotIndex(3), &other);
        let among = links.neighbours(SlotIndex(1));
        assert_eq!(links.find(&among, id(2).as_str()), Some(SlotIndex(2)));
        assert_eq!(links.find(&among, "box-3"), Some(SlotIndex(3)));
        assert_eq!(links.find(&among, "box-1"), None, "oneself is no peer");
        other.peer = Some(Peer {
            sandbox: id(3),
            name: "BOX-2".to_owned(),
        });
        links.set(SlotIndex(3), &other);
        let among = links.neighbours(SlotIndex(1));
        assert_eq!(links.find(&among, "box-2"), None, "which of the two?");
    }

    #[test]
    fn only_names_below_the_zone_are_those_of_peers() {
        let label = |text: &str| {
            let name = HostName::parse(text).unwrap();
            peer_label(&name).map(str::to_owned)
        };
        assert_eq!(label("DB.sandbox.internal."), Some("db".to_owned()));
        assert_eq!(label("a.b.sandbox.internal"), Some("a.b".to_owned()));
        for other in [
            "sandbox.internal",
            "x.internal",
            "xsandbox.internal",
            "db.sandbox.internal.example",
        ] {
            assert_eq!(label(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn neighbours_are_always_each_others(steps in proptest::collection::vec((0_u16..6, 0_u16..5, proptest::option::of(0_u16..5)), 1..40)) {
            let mut links = Links::default();
            for (slot, number, owner) in steps {
                if number == 4 {
                    links.remove(SlotIndex(slot));
                } else {
                    links.set(SlotIndex(slot), &spec(number, owner));
                }
                for slot in (0..6).map(SlotIndex) {
                    for other in links.neighbours(slot) {
                        prop_assert!(other != slot);
                        prop_assert!(links.neighbours(other).contains(&slot));
                    }
                }
            }
            for slot in 0..6 {
                links.remove(SlotIndex(slot));
            }
            prop_assert!(links.members.is_empty() && links.slots.is_empty() && links.followers.is_empty());
        }
    }
}
