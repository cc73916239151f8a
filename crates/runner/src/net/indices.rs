//! Which slot numbers are free: decisions only, no clock and no kernel.
//!
//! ```text
//!  never used ──take──> held ──rest──> resting ──time──> free again
//! ```
//!
//! Numbers that were never used go first and the longest-rested ones after them, so that an address
//! comes back as late as can be.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::config::SlotIndex;

#[derive(Debug)]
pub(super) struct Indices {
    capacity: u16,
    quarantine: Duration,
    next_unused: u16,
    held: HashSet<SlotIndex>,
    /// Numbers from `next_unused` on that were used all the same, by a sandbox of an earlier server.
    adopted: HashSet<SlotIndex>,
    resting: VecDeque<(Instant, SlotIndex)>,
}

impl Indices {
    pub fn new(capacity: u16, quarantine: Duration) -> Self {
        Self {
            capacity,
            quarantine,
            next_unused: 1,
            held: HashSet::new(),
            adopted: HashSet::new(),
            resting: VecDeque::new(),
        }
    }

    /// Takes a number that nobody holds; `None` when there is none, or all free ones still rest.
    pub fn take(&mut self, now: Instant) -> Option<SlotIndex> {
        while self.next_unused <= self.capacity {
            let index = SlotIndex(self.next_unused);
            self.next_unused += 1;
            if !self.adopted.remove(&index) {
                self.held.insert(index);
                return Some(index);
            }
        }
        let (since, index) = *self.resting.front()?;
        if now.saturating_duration_since(since) < self.quarantine {
            return None;
        }
        self.resting.pop_front();
        self.held.insert(index);
        Some(index)
    }

    /// Notes that somebody holds a number already. False if that was known, or the pool lacks it.
    pub fn adopt(&mut self, index: SlotIndex) -> bool {
        let is_inside = (1..=self.capacity).contains(&index.0);
        let is_resting = self.resting.iter().any(|(_, resting)| *resting == index);
        let is_new = is_inside && !is_resting && self.held.insert(index);
        if is_new && index.0 >= self.next_unused {
            self.adopted.insert(index);
        }
        is_new
    }

    /// Gives a number back; it can be taken again after the quarantine.
    pub fn rest(&mut self, index: SlotIndex, now: Instant) {
        if self.held.remove(&index) {
            self.resting.push_back((now, index));
        }
    }

    pub fn resting(&self) -> usize {
        self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(10);

    #[test]
    fn a_full_pool_gives_nothing_until_an_address_has_rested() {
        let start = Instant::now();
        let mut indices = Indices::new(2, QUARANTINE);
        assert_eq!(indices.take(start), Some(SlotIndex(1)));
        assert_eq!(indices.take(start), Some(SlotIndex(2)));
        assert_eq!(indices.take(start), None);
        indices.rest(SlotIndex(1), start);
        assert_eq!(indices.take(start + QUARANTINE / 2), None);
        assert_eq!(indices.take(start + QUARANTINE), Some(SlotIndex(1)));
    }

    #[test]
    fn an_adopted_number_is_not_given_to_another() {
        let start = Instant::now();
        let mut indices = Indices::new(2, QUARANTINE);
        assert!(indices.adopt(SlotIndex(1)));
        assert!(!indices.adopt(SlotIndex(1)));
        assert!(!indices.adopt(SlotIndex(3)), "outside the pool");
        assert_eq!(indices.take(start), Some(SlotIndex(2)));
        assert_eq!(indices.take(start), None);
    }

    #[test]
    fn an_adopted_number_rests_like_any_other() {
        let start = Instant::now();
        let mut indices = Indices::new(2, QUARANTINE);
        assert!(indices.adopt(SlotIndex(2)));
        indices.rest(SlotIndex(2), start);
        assert_eq!(indices.take(start), Some(SlotIndex(1)));
        assert_eq!(indices.take(start), None);
        assert_eq!(indices.take(start + QUARANTINE), Some(SlotIndex(2)));
    }

    #[test]
    fn giving_back_twice_makes_one_free_number() {
        let start = Instant::now();
        let mut indices = Indices::new(1, Duration::ZERO);
        assert_eq!(indices.take(start), Some(SlotIndex(1)));
        indices.rest(SlotIndex(1), start);
        indices.rest(SlotIndex(1), start);
        assert_eq!(indices.take(start), Some(SlotIndex(1)));
        assert_eq!(indices.take(start), None);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Take,
        Adopt(u16),
        Rest(u16),
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Take),
            1 => (0_u16..12).prop_map(Event::Adopt),
            2 => (0_u16..12).prop_map(Event::Rest),
            1 => (0_u64..15).prop_map(Event::Wait),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_nor_before_its_rest(events in proptest::collection::vec(event(), 0..200)) {
            let mut now = Instant::now();
            let mut indices = Indices::new(10, QUARANTINE);
            let mut held = HashSet::new();
            let mut rested_since = std::collections::HashMap::new();
            for event in events {
                match event {
                    Event::Take => if let Some(index) = indices.take(now) {
                        prop_assert!((1..=10).contains(&index.0));
                        prop_assert!(held.insert(index), "given twice");
                        if let Some(since) = rested_since.remove(&index) {
                            prop_assert!(now.duration_since(since) >= QUARANTINE);
                        }
                    },
                    Event::Adopt(number) => if indices.adopt(SlotIndex(number)) {
                        prop_assert!(held.insert(SlotIndex(number)));
                    },
                    Event::Rest(number) => {
                        indices.rest(SlotIndex(number), now);
                        if held.remove(&SlotIndex(number)) {
                            rested_since.insert(SlotIndex(number), now);
                        }
                    },
                    Event::Wait(seconds) => now += Duration::from_secs(seconds),
                }
            }
        }
    }
}
