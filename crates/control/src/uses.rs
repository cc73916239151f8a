//! When things were used last, as far as that is not written down yet.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::shared::lock;

/// Last uses by what was used. They stay known until they are written down, and where writing fails, until it does not.
pub(crate) struct Uses<K> {
    parts: Mutex<Parts<K>>,
}

struct Parts<K> {
    noted: HashMap<K, Timestamp>,
    /// Those that are being written down.
    leaving: HashMap<K, Timestamp>,
}

impl<K> Default for Uses<K> {
    fn default() -> Self {
        Self {
            parts: Mutex::new(Parts {
                noted: HashMap::new(),
                leaving: HashMap::new(),
            }),
        }
    }
}

impl<K: Clone + Eq + Hash> Uses<K> {
    pub fn note(&self, used: K, at: Timestamp) {
        lock(&self.parts).noted.insert(used, at);
    }

    pub fn last(&self, used: &K) -> Option<Timestamp> {
        let parts = lock(&self.parts);
        let noted = parts.noted.get(used).copied();
        noted.max(parts.leaving.get(used).copied())
    }

    /// All of them, to be written down. [`Self::written`] says that they are.
    pub fn leave(&self) -> Vec<(K, Timestamp)> {
        let mut parts = lock(&self.parts);
        let Parts { noted, leaving } = &mut *parts;
        leaving.extend(noted.drain());
        leaving
            .iter()
            .map(|(used, at)| (used.clone(), *at))
            .collect()
    }

    pub fn written(&self) {
        lock(&self.parts).leaving.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_known_until_it_is_written_down_and_written_again_if_that_failed() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let uses = Uses::default();
        uses.note("a", at(1));
        assert_eq!(uses.leave(), [("a", at(1))]);
        assert_eq!(uses.last(&"a"), Some(at(1)));
        uses.note("a", at(2));
        assert_eq!(uses.last(&"a"), Some(at(2)));
        // The first could not be written down.
        assert_eq!(uses.leave(), [("a", at(2))]);
        uses.written();
        assert_eq!(uses.last(&"a"), None);
        assert_eq!(uses.leave(), []);
    }
}
