#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;

use alcove_runner_api::{FaultCode, ImageDigest, Resources};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    id: SandboxId,
    is_fit: bool,
}

impl Member for Thing {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn is_fit(&self) -> bool {
        self.is_fit
    }
}

const LIMIT: Duration = Duration::from_mins(1);

fn kind(name: &str) -> WarmKind {
    WarmKind {
        pool: name.to_owned(),
        image: ImageDigest("sha256:0".to_owned()),
        resources: Resources {
            cpu_millis: 1000,
            memory_bytes: 1,
            disk_bytes: 1,
            pids: 1,
        },
    }
}

fn wish(name: &str, size: u32) -> WarmWish {
    let kind = kind(name);
    WarmWish { kind, size }
}

fn thing(number: u32) -> Thing {
    let id = format!("m{number}").parse().unwrap();
    Thing { id, is_fit: true }
}

/// Does what is to be done until nothing is, and returns what was thrown away.
fn settle(shelf: &mut Shelf<Thing>, number: &mut u32, now: Instant) -> Vec<Thing> {
    let mut gone = Vec::new();
    for _ in 0..1000 {
        match shelf.next(now) {
            Some(Task::Make(kind)) => {
                *number += 1;
                shelf.made(&kind, Ok(thing(*number)), now);
            }
            Some(Task::Discard(member)) => gone.push(member),
            None => return gone,
        }
    }
    panic!("never done: {shelf:?}");
}

fn ready(shelf: &Shelf<Thing>) -> Vec<u32> {
    shelf.states().iter().map(|state| state.ready).collect()
}

#[test]
fn a_member_that_was_taken_is_claimed_once_and_by_its_id_alone() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("a", 1)]);
    settle(&mut shelf, &mut 0, now);
    assert_eq!(shelf.take(&[kind("b")], now), None);
    let id = shelf.take(&[kind("b"), kind("a")], now).unwrap();
    assert_eq!(shelf.take(&[kind("a")], now), None);
    assert_eq!(shelf.claim(&"m9".parse().unwrap()), None);
    assert_eq!(shelf.claim(&id).unwrap().id, id);
    assert_eq!(shelf.claim(&id), None);
}

#[test]
fn a_member_that_comes_back_is_the_next_to_be_taken() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("a", 2)]);
    settle(&mut shelf, &mut 0, now);
    let id = shelf.take(&[kind("a")], now).unwrap();
    shelf.give_back(&id);
    shelf.give_back(&id);
    assert_eq!(ready(&shelf), [2]);
    assert_eq!(shelf.take(&[kind("a")], now), Some(id));
}

#[test]
fn a_taken_member_that_nobody_claims_goes_when_its_time_is_up() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("a", 1)]);
    settle(&mut shelf, &mut 0, now);
    let id = shelf.take(&[kind("a")], now).unwrap();
    let gone = settle(
        &mut shelf,
        &mut 10,
        now + LIMIT.saturating_sub(Duration::from_millis(1)),
    );
    assert!(gone.is_empty(), "{gone:?}");
    let gone = settle(&mut shelf, &mut 10, now + LIMIT);
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].id, id);
    assert_eq!(shelf.claim(&id), None);
}

#[test]
fn one_that_ended_by_itself_is_not_taken_and_is_replaced() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("a", 1)]);
    let ended = Thing {
        is_fit: false,
        ..thing(1)
    };
    shelf.made(&kind("a"), Ok(ended.clone()), now);
    assert_eq!(shelf.take(&[kind("a")], now), None);
    assert_eq!(settle(&mut shelf, &mut 1, now), [ended]);
    assert_eq!(ready(&shelf), [1]);
}

#[test]
fn what_is_not_wished_any_more_goes() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("a", 2), wish("b", 1)]);
    settle(&mut shelf, &mut 0, now);
    shelf.wish(vec![wish("a", 1)]);
    assert_eq!(settle(&mut shelf, &mut 10, now).len(), 2);
    assert_eq!(ready(&shelf), [1]);
    shelf.wish(Vec::new());
    assert_eq!(settle(&mut shelf, &mut 10, now).len(), 1);
    assert!(shelf.is_empty());
}

#[test]
fn a_kind_that_cannot_be_made_is_tried_again_ever_more_slowly_and_holds_up_no_other() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("bad", 1), wish("good", 1)]);
    let fault = Fault {
        code: FaultCode::ImageMissing,
        message: "no image".to_owned(),
    };
    shelf.made(&kind("bad"), Err(fault.clone()), now);
    settle(&mut shelf, &mut 0, now);
    assert_eq!(ready(&shelf), [0, 1]);
    assert_eq!(shelf.states()[0].fault, Some(fault.clone()));
    assert_eq!(shelf.next(now + RETRY_FIRST), Some(Task::Make(kind("bad"))));
    shelf.made(&kind("bad"), Err(fault), now + RETRY_FIRST);
    assert_eq!(shelf.next(now + RETRY_FIRST * 2), None);
    settle(&mut shelf, &mut 5, now + RETRY_FIRST * 3);
    assert_eq!(ready(&shelf), [1, 1]);
    assert_eq!(shelf.states()[0].fault, None);
}

#[test]
fn the_kind_that_lacks_most_of_its_wish_is_made_first() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("many", 10), wish("one", 1)]);
    let mut order = Vec::new();
    for number in 0..4 {
        let Some(Task::Make(kind)) = shelf.next(now) else {
            panic!("nothing to make");
        };
        order.push(kind.pool.clone());
        shelf.made(&kind, Ok(thing(number)), now);
    }
    assert!(order.contains(&"one".to_owned()), "{order:?}");
}

#[test]
fn a_closed_shelf_gives_everything_back_and_makes_nothing() {
    let (mut shelf, now) = (Shelf::new(LIMIT), Instant::now());
    shelf.wish(vec![wish("a", 3)]);
    settle(&mut shelf, &mut 0, now);
    shelf.take(&[kind("a")], now).unwrap();
    assert_eq!(shelf.close().len(), 3);
    shelf.wish(vec![wish("a", 3)]);
    assert_eq!(shelf.next(now), None);
}

proptest! {
    /// Whatever happens in whatever order: each member is in one place, is handed out once, and none is lost.
    #[test]
    fn no_member_is_lost_or_handed_out_twice(
        steps in prop::collection::vec((0_u8..6, 0_u32..4, 0_u64..90), 1..80),
    ) {
        let (mut shelf, mut now) = (Shelf::<Thing>::new(LIMIT), Instant::now());
        let (mut number, mut taken) = (0, Vec::new());
        let (mut claimed, mut gone) = (HashSet::new(), HashSet::new());
        for (step, size, seconds) in steps {
            match step {
                0 => shelf.wish(vec![wish("a", size), wish("b", 3 - size)]),
                1 => taken.extend(shelf.take(&[kind("a"), kind("b")], now)),
                2 => if let Some(id) = taken.pop()
                    && let Some(member) = shelf.claim(&id)
                {
                    prop_assert!(claimed.insert(member.id));
                },
                3 => if let Some(id) = taken.pop() {
                    shelf.give_back(&id);
                },
                4 => now += Duration::from_secs(seconds),
                _ => for member in settle(&mut shelf, &mut number, now) {
                    prop_assert!(gone.insert(member.id));
                },
            }
        }
        for member in shelf.close() {
            prop_assert!(gone.insert(member.id));
        }
        prop_assert!(claimed.is_disjoint(&gone));
        prop_assert_eq!(claimed.len() + gone.len(), number as usize);
    }
}
