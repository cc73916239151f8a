//! Names of which it is not known what stands under them: a push failed, and nobody said that the object was refused.
//!
//! The ledger counts something for each. Once the bucket is looked at again, it counts what is there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::folder::ledger::Ledger;
use crate::{Bucket, Key};

/// A store that was asked, and not heard to the end, has done what it was asked for or has dropped it after this.
pub(super) const LATE: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: Mutex<HashMap<Key, Doubt>>,
}

#[derive(Debug)]
struct Doubt {
    /// Bytes of the object that the ledger counts, if it counts one.
    counted: Option<u64>,
    /// A look at it before is too early.
    due: Instant,
}

impl Doubts {
    fn open(&self) -> MutexGuard<'_, HashMap<Key, Doubt>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a name looked at again, at the next change of its owner that comes after `wait`.
    pub fn note(&self, key: &Key, counted: Option<u64>, wait: Duration) {
        let due = Instant::now() + wait;
        self.open().insert(key.clone(), Doubt { counted, due });
    }

    /// Has counted what was found under a name. To be called under the turn of the name.
    pub fn settle(&self, ledger: &Ledger, key: &Key, found: Option<u64>) {
        if let Some(doubt) = self.open().remove(key) {
            ledger.correct(key, doubt.counted, found);
        }
    }

    /// Names to look at now, of one owner or of all.
    pub fn due(&self, of: Option<(Bucket, &str)>) -> Vec<Key> {
        let now = Instant::now();
        let open = self.open();
        let due = open.iter().filter(|(key, doubt)| {
            doubt.due <= now && of.is_none_or(|of| of == (key.bucket(), key.owner()))
        });
        due.map(|(key, _)| key.clone()).collect()
    }
}
