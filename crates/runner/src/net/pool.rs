//! Ready slots, and the thread that makes them and sees old ones off.
//!
//! Taking a ready slot is a pop. All that holds the kernel's network lock for long happens on one
//! thread of lower priority: making slots ahead of need, waiting for the interfaces of ended sandboxes
//! to go, removing by force those that stay.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::config::{NetworkConfig, SlotIndex};
use super::conntrack;
use super::indices::Indices;
use super::netlink::Netlink;
use super::policy::Policies;
use super::slot::{self, NetworkSlot, SlotError, SlotPlan};

/// How often the departing interfaces are looked at. The kernel takes some tens of milliseconds.
const DEPARTURE_POLL: Duration = Duration::from_millis(50);

/// Least time from one walk through the kernel's connections to the next. All that have gone meanwhile share a walk: there were
/// two walks for each, which took a fifth of a processor where sandboxes were made and deleted without a pause.
const FORGET_PACE: Duration = Duration::from_millis(200);

/// The pause after a walk, in times of what it took, so that a table with many connections takes no more of a processor.
const FORGET_SHARE: u32 = 20;

/// The same after one that failed.
const FORGET_RETRY: Duration = Duration::from_secs(2);

/// How long an interface may outlive its sandbox before it is removed by force.
const DEPARTURE_GRACE: Duration = Duration::from_secs(30);

/// The same while the network is being closed.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Removing an interface holds the kernel's network lock for 18 to 34 ms: one at a time, with room for
/// creates in between.
const REMOVAL_PACE: Duration = Duration::from_millis(100);

/// Rest after a slot could not be made ahead of need, doubled with each further failure.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Rest after a slot was taken, while at least half of the pool is left. Making one keeps a processor busy for
/// 2 ms and takes the kernel's network lock, right when the sandbox that took the slot is being made.
const TAKE_REST: Duration = Duration::from_millis(30);

/// Added to the thread's nice value. No more than this: while it holds the kernel's network lock,
/// creates may have to wait for it.
const NICENESS: i32 = 5;

/// How many slots are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotCounts {
    pub ready: usize,
    pub in_use: usize,
    /// Given back, interface not yet gone.
    pub departing: usize,
    /// Gone, address not yet free.
    pub resting: usize,
}

#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: NetworkConfig,
    policies: Arc<Policies>,
    mtu: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    indices: Indices,
    ready: VecDeque<NetworkSlot>,
    in_use: std::collections::HashSet<SlotIndex>,
    departing: Vec<Departure>,
    last_take: Option<Instant>,
    stage: Stage,
}

impl State {
    /// When the next slot is to be made ahead of need; `None` while enough are ready.
    fn refill_due(&self, target: usize, next_try: Instant) -> Option<Instant> {
        if self.stage != Stage::Open || self.ready.len() >= target {
            return None;
        }
        match self.last_take {
            Some(taken) if self.ready.len() * 2 >= target => Some(next_try.max(taken + TAKE_REST)),
            _ => Some(next_try),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Nothing new is made; departures are still seen off.
    Draining,
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    index: SlotIndex,
    /// When to stop waiting and remove it.
    force_at: Instant,
}

impl Pool {
    /// Starts the pool. `adopted` slots are in use; the interfaces of `strays` are removed.
    pub fn start(
        config: NetworkConfig,
        policies: Arc<Policies>,
        mtu: u32,
        adopted: &[SlotIndex],
        strays: &[SlotIndex],
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut indices = Indices::new(config.pool.capacity(), config.quarantine);
        let in_use = adopted
            .iter()
            .copied()
            .filter(|index| indices.adopt(*index))
            .collect();
        let departing = strays
            .iter()
            .copied()
            // A number outside the pool (it was larger once) is removed all the same.
            .inspect(|index| {
                indices.adopt(*index);
            })
            .map(|index| Departure {
                index,
                force_at: now,
            })
            .collect();
        let shared = Arc::new(Shared {
            config,
            policies,
            mtu,
            state: Mutex::new(State {
                indices,
                ready: VecDeque::new(),
                in_use,
                departing,
                last_take: None,
                stage: Stage::Open,
            }),
            changed: Condvar::new(),
        });
        let keeper = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("net-slots".to_owned())
                .spawn(move || shared.keep())?
        };
        Ok(Self {
            shared,
            keeper: Mutex::new(Some(keeper)),
        })
    }

    pub async fn take(&self) -> Result<NetworkSlot, SlotError> {
        let plan = {
            let mut state = self.shared.lock();
            if state.stage != Stage::Open {
                return Err(SlotError::Closed);
            }
            if let Some(slot) = state.ready.pop_front() {
                state.in_use.insert(slot.index);
                state.last_take = Some(Instant::now());
                self.shared.changed.notify_all();
                return Ok(slot);
            }
            self.shared.plan(&mut state)?
        };
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let made = shared.make(plan);
            if let Ok(slot) = &made {
                shared.lock().in_use.insert(slot.index);
            }
            // Whoever asked has gone: the next one gets it.
            if let Err(Ok(slot)) = sender.send(made) {
                let mut state = shared.lock();
                state.in_use.remove(&slot.index);
                state.ready.push_back(slot);
            }
        });
        receiver.await.unwrap_or(Err(SlotError::Closed))
    }

    pub fn release(&self, index: SlotIndex) {
        let mut state = self.shared.lock();
        if state.in_use.remove(&index) {
            state.departing.push(Departure {
                index,
                force_at: Instant::now() + DEPARTURE_GRACE,
            });
            self.shared.changed.notify_all();
        }
    }

    pub fn counts(&self) -> SlotCounts {
        let state = self.shared.lock();
        SlotCounts {
            ready: state.ready.len(),
            in_use: state.in_use.len(),
            departing: state.departing.len(),
            resting: state.indices.resting(),
        }
    }

    /// Makes nothing new, drops what is ready and waits until all departing interfaces are gone, at
    /// most `patience`. Blocks.
    pub fn drain(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        state.stage = Stage::Draining;
        let force_at = Instant::now() + DRAIN_GRACE;
        for departure in &mut state.departing {
            departure.force_at = departure.force_at.min(force_at);
        }
        let ready: Vec<NetworkSlot> = state.ready.drain(..).collect();
        for NetworkSlot { index, netns, .. } in ready {
            drop::<OwnedFd>(netns);
            state.departing.push(Departure { index, force_at });
        }
        self.shared.changed.notify_all();
        while !state.departing.is_empty() && Instant::now() < deadline {
            let rest = deadline.saturating_duration_since(Instant::now());
            let waited = self.shared.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the thread. Blocks for as long as one slot takes to make.
    pub fn close(&self) {
        self.shared.close();
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper {
            // A panic of the thread has been printed; there is nothing to undo.
            let _ = keeper.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only changed by single assignments: what a panicking thread leaves is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.stage = Stage::Closed;
        state.ready.clear();
        self.changed.notify_all();
    }

    fn plan(&self, state: &mut State) -> Result<SlotPlan, SlotError> {
        let pool = self.config.pool;
        let full = SlotError::Full {
            capacity: pool.capacity(),
        };
        let Some(index) = state.indices.take(Instant::now()) else {
            return Err(full);
        };
        let Some(address) = pool.address(index) else {
            return Err(full);
        };
        Ok(SlotPlan {
            index,
            address,
            gateway: pool.gateway(),
            host_interface: self.config.interface(index),
            mtu: self.mtu,
        })
    }

    /// Makes a slot; what a failure leaves behind departs like a used slot.
    fn make(&self, plan: SlotPlan) -> Result<NetworkSlot, SlotError> {
        let index = plan.index;
        slot::make(plan).inspect_err(|_| {
            let mut state = self.lock();
            state.departing.push(Departure {
                index,
                force_at: Instant::now() + DEPARTURE_GRACE,
            });
            self.changed.notify_all();
        })
    }

    /// The thread's life.
    fn keep(&self) {
        // Without a lower priority the thread works just as well.
        let _ = rustix::process::nice(NICENESS);
        let mut next_try = Instant::now();
        let mut retry = RETRY_FIRST;
        let mut next_walk = Instant::now();
        loop {
            self.see_off(&mut next_walk);
            let plan = {
                let mut state = self.lock();
                let due = |state: &State| state.refill_due(self.config.ready_slots, next_try);
                loop {
                    let now = Instant::now();
                    if state.stage == Stage::Closed {
                        return;
                    }
                    let due = due(&state);
                    if due.is_some_and(|due| now >= due) {
                        break;
                    }
                    let until_try = due.map(|due| due.saturating_duration_since(now));
                    let until_poll = (!state.departing.is_empty()).then_some(DEPARTURE_POLL);
                    let wait = [until_try, until_poll].into_iter().flatten().min();
                    state = match wait {
                        Some(wait) => {
                            self.changed
                                .wait_timeout(state, wait)
                                .unwrap_or_else(PoisonError::into_inner)
                                .0
                        }
                        None => self
                            .changed
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner),
                    };
                    if until_poll.is_some() {
                        break;
                    }
                }
                if due(&state).is_some_and(|due| Instant::now() >= due) {
                    // A full pool is no failure: a release will wake this thread.
                    Some(self.plan(&mut state))
                } else {
                    None
                }
            };
            let made = match plan {
                None => continue,
                Some(Ok(plan)) => self.make(plan),
                Some(Err(error)) => Err(error),
            };
            match made {
                Ok(slot) => {
                    retry = RETRY_FIRST;
                    let mut state = self.lock();
                    if state.stage == Stage::Open {
                        state.ready.push_back(slot);
                    } else {
                        state.departing.push(Departure {
                            index: slot.index,
                            force_at: Instant::now() + DEPARTURE_GRACE,
                        });
                    }
                }
                Err(error) => {
                    if !matches!(error, SlotError::Full { .. }) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot make a network slot ahead of need"
                        );
                    }
                    next_try = Instant::now() + retry;
                    retry = (retry * 2).min(RETRY_LAST);
                }
            }
        }
    }

    /// Lets addresses rest whose interfaces are gone, once no connection of theirs is left; says when to do so again.
    fn let_rest(&self, gone: &[SlotIndex], stage: Stage) -> Instant {
        let began = Instant::now();
        let addresses = gone
            .iter()
            .filter_map(|index| self.config.pool.address(*index));
        let forgotten = conntrack::forget(&addresses.collect::<BTreeSet<_>>());
        let now = Instant::now();
        if let Err(error) = forgotten {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot forget the connections of {} addresses",
                gone.len()
            );
            // Nobody comes after them where the network is being closed.
            if stage == Stage::Open {
                return now + FORGET_RETRY;
            }
        }
        for index in gone {
            if let Err(error) = self.policies.clear(*index) {
                // The next holder's policy takes the place of what is left.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    slot = index.0,
                    "cannot take the policy of slot {index} away"
                );
            }
            let mut pool = self.lock();
            pool.departing.retain(|other| other.index != *index);
            pool.indices.rest(*index, now);
            self.changed.notify_all();
        }
        now + FORGET_PACE.max((now - began) * FORGET_SHARE)
    }

    /// Lets the addresses of interfaces that are gone rest, and removes one that should be gone.
    fn see_off(&self, next_walk: &mut Instant) {
        let (departing, stage) = {
            let state = self.lock();
            (state.departing.clone(), state.stage)
        };
        if departing.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut overdue = None;
        let mut gone = Vec::new();
        for departure in departing {
            let name = self.config.interface(departure.index);
            if exists(&name) {
                if now >= departure.force_at {
                    overdue.get_or_insert(name);
                }
                continue;
            }
            gone.push(departure.index);
        }
        if !gone.is_empty() && now >= *next_walk {
            *next_walk = self.let_rest(&gone, stage);
        }
        if let Some(name) = overdue {
            let removed = Netlink::open().and_then(|mut netlink| netlink.link_delete(&name));
            if let Err(error) = removed
                && exists(&name)
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    interface = name,
                    "cannot remove the interface {name}"
                );
            }
            thread::sleep(REMOVAL_PACE);
        }
    }
}

/// Asked without taking the kernel's network lock. When in doubt, yes.
fn exists(interface: &str) -> bool {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    );
    let Ok(socket) = socket else { return true };
    !matches!(
        rustix::net::netdevice::name_to_index(&socket, interface),
        Err(rustix::io::Errno::NODEV)
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn state(ready: u16, last_take: Option<Instant>) -> State {
        let slot = |number| NetworkSlot {
            index: SlotIndex(number),
            address: Ipv4Addr::LOCALHOST,
            gateway: Ipv4Addr::LOCALHOST,
            host_interface: String::new(),
            netns: std::fs::File::open("/dev/null")
                .expect("it is there")
                .into(),
        };
        State {
            indices: Indices::new(100, Duration::ZERO),
            ready: (0..ready).map(slot).collect(),
            in_use: std::collections::HashSet::new(),
            departing: Vec::new(),
            last_take,
            stage: Stage::Open,
        }
    }

    #[test]
    fn a_pool_that_is_half_full_rests_after_a_take_and_one_that_is_emptier_does_not() {
        let now = Instant::now();
        let due = |ready, taken| state(ready, taken).refill_due(8, now);
        assert_eq!(due(8, Some(now)), None);
        assert_eq!(due(7, None), Some(now));
        assert_eq!(due(7, Some(now)), Some(now + TAKE_REST));
        assert_eq!(due(4, Some(now)), Some(now + TAKE_REST));
        assert_eq!(due(3, Some(now)), Some(now));
    }

    #[test]
    fn a_pool_that_closes_makes_nothing_more() {
        let mut state = state(0, None);
        state.stage = Stage::Draining;
        assert_eq!(state.refill_due(8, Instant::now()), None);
    }
}
