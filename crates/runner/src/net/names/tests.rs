#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const SANDBOX: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);
const SLOT: SlotIndex = SlotIndex(1);
const TTL: Duration = Duration::from_mins(1);

/// A kernel that forgets no element by itself.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    open: Mutex<HashSet<(SlotIndex, Ipv4Addr)>>,
    orders: AtomicUsize,
    fails: AtomicBool,
}

impl Kernel {
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.open.lock().unwrap().contains(&(SLOT, address))
    }
}

impl Openings for Kernel {
    fn open(&self, slot: SlotIndex, addresses: &[Ipv4Addr], lifetime: Duration) -> io::Result<()> {
        assert!(lifetime <= LIFETIME_MAX + LIFETIME_SLACK);
        self.orders.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let pairs = addresses.iter().map(|address| (slot, *address));
        self.open.lock().unwrap().extend(pairs);
        Ok(())
    }

    fn close(&self, slot: SlotIndex, addresses: &[Ipv4Addr]) -> io::Result<()> {
        self.orders.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock().unwrap();
        for address in addresses {
            open.remove(&(slot, *address));
        }
        Ok(())
    }
}

pub fn policy(entries: &[&str]) -> NetworkPolicy {
    NetworkPolicy {
        allow_domains: entries.iter().map(|entry| entry.parse().unwrap()).collect(),
        ..NetworkPolicy::default()
    }
}

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

/// A sandbox that is held to a list, and the kernel that it is told to.
struct World {
    kernel: Kernel,
    rules: NameRules,
    names: Arc<ListedNames>,
}

impl World {
    fn new(entries: &[&str]) -> Self {
        let (kernel, rules) = (Kernel::default(), NameRules::default());
        rules
            .apply(&kernel, SANDBOX, SLOT, &policy(entries))
            .unwrap();
        let names = rules.listed(SANDBOX).unwrap();
        Self {
            kernel,
            rules,
            names,
        }
    }

    fn hold_to(&self, entries: &[&str]) {
        let policy = policy(entries);
        self.rules
            .apply(&self.kernel, SANDBOX, SLOT, &policy)
            .unwrap();
    }

    fn open(&self, asked: &str, last: &[u8]) -> Result<(), OpenError> {
        self.open_for(asked, last, TTL)
    }

    fn open_for(&self, asked: &str, last: &[u8], ttl: Duration) -> Result<(), OpenError> {
        let addresses: Vec<_> = last.iter().copied().map(address).collect();
        self.names.open(&self.kernel, &name(asked), &addresses, ttl)
    }

    fn orders(&self) -> usize {
        self.kernel.orders.load(Ordering::Relaxed)
    }
}

#[test]
fn an_address_is_open_for_the_name_that_opened_it_and_for_no_other() {
    let world = World::new(&["a.example", "b.example"]);
    world.open("a.example", &[1]).unwrap();
    let names = &world.names;
    assert!(world.kernel.has(address(1)));
    assert!(names.is_open(address(1)));
    assert!(names.is_open_for(&name("a.example"), address(1)));
    assert!(!names.is_open_for(&name("b.example"), address(1)));
    assert!(!names.is_open_for(&name("a.example"), address(2)));
    assert!(!names.is_open(address(2)) && !world.kernel.has(address(2)));
}

#[test]
fn a_name_that_is_not_listed_opens_nothing() {
    let world = World::new(&["a.example"]);
    let outcome = world.open("b.example", &[1]);
    assert!(matches!(outcome, Err(OpenError::NotListed)));
    assert!(!world.kernel.has(address(1)) && !world.names.is_open(address(1)));
}

#[test]
fn what_the_kernel_did_not_open_is_not_open_here() {
    let world = World::new(&["a.example"]);
    world.kernel.fails.store(true, Ordering::Relaxed);
    let outcome = world.open("a.example", &[1]);
    assert!(matches!(outcome, Err(OpenError::Kernel(_))));
    assert!(!world.names.is_open(address(1)));
}

#[test]
fn asking_again_soon_costs_the_kernel_nothing_and_a_longer_answer_does() {
    let world = World::new(&["*.example"]);
    world.open("a.example", &[1]).unwrap();
    world.open("b.example", &[1]).unwrap();
    assert_eq!(world.orders(), 1);
    assert!(world.names.is_open_for(&name("b.example"), address(1)));
    world.open_for("a.example", &[1], LIFETIME_MIN * 2).unwrap();
    assert_eq!(world.orders(), 2);
}

#[test]
fn a_new_list_closes_what_it_does_not_name_and_leaves_the_rest() {
    let world = World::new(&["a.example", "b.example"]);
    world.open("a.example", &[1, 2]).unwrap();
    world.open("b.example", &[2, 3]).unwrap();
    world.hold_to(&["b.example"]);
    let stands = [1, 2, 3].map(|last| world.kernel.has(address(last)));
    assert_eq!(stands, [false, true, true]);
    assert!(!world.names.is_open_for(&name("a.example"), address(2)));
    assert!(world.names.is_open_for(&name("b.example"), address(2)));
}

#[test]
fn a_sandbox_that_has_gone_leaves_nothing_open_and_a_late_answer_opens_nothing() {
    let world = World::new(&["a.example"]);
    world.open("a.example", &[1]).unwrap();
    world.rules.release(&world.kernel, SANDBOX).unwrap();
    assert!(!world.kernel.has(address(1)) && !world.names.is_open(address(1)));
    let late = world.open("a.example", &[1]);
    assert!(matches!(late, Err(OpenError::NotListed)));
    assert!(!world.kernel.has(address(1)));
    assert!(matches!(world.rules.rule(SANDBOX), NameRule::None));
}

#[test]
fn a_policy_without_names_ends_the_list_and_only_an_open_one_answers_anything() {
    let world = World::new(&["a.example"]);
    world.open("a.example", &[1]).unwrap();
    let blocked = NetworkPolicy {
        block_all: true,
        ..policy(&["a.example"])
    };
    let apply = |policy| world.rules.apply(&world.kernel, SANDBOX, SLOT, policy);
    apply(&blocked).unwrap();
    assert!(matches!(world.rules.rule(SANDBOX), NameRule::None));
    assert!(!world.kernel.has(address(1)) && !world.names.allows(&name("a.example")));
    apply(&policy(&[])).unwrap();
    assert!(matches!(world.rules.rule(SANDBOX), NameRule::Any));
}

#[test]
fn one_sandbox_opens_no_more_than_its_share() {
    let world = World::new(&["*.example"]);
    let open = |at: usize| world.open(&format!("n{at}.example"), &[1]);
    for at in 0..OPENINGS_MAX {
        open(at).unwrap();
    }
    assert!(matches!(open(OPENINGS_MAX), Err(OpenError::Full)));
    // What stands open already is no more.
    open(0).unwrap();
}

#[tokio::test]
async fn whoever_uses_a_name_learns_that_it_is_closed() {
    let world = World::new(&["a.example", "b.example"]);
    let wait = |asked: &str| {
        let (names, asked) = (Arc::clone(&world.names), name(asked));
        tokio::spawn(async move { names.closed_to(|list| list.allows(&asked)).await })
    };
    let closed = wait("a.example");
    world.hold_to(&["b.example"]);
    closed.await.unwrap();
    let closed = wait("b.example");
    world.rules.release(&world.kernel, SANDBOX).unwrap();
    closed.await.unwrap();
}
