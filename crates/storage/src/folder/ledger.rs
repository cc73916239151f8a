//! What each owner has in each bucket, so that a write is refused before it fills the disk.
//!
//! Kept in memory and counted anew at each start. What is being written is held before it is on the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Limits;
use crate::{Bucket, Key, StorageError};

/// Held at a time while an object comes in. Smaller ones cost a look at the free disk space each.
const HOLD_STEP_BYTES: u64 = 8 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    bucket: Bucket,
    owner: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub bytes: u64,
    pub objects: u64,
    pub uploads: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    limits: Limits,
    uses: Mutex<HashMap<Account, Use>>,
}

impl Ledger {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            uses: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, bucket: Bucket, owner: &str) -> Use {
        let account = Account {
            bucket,
            owner: owner.to_owned(),
        };
        self.lock().get(&account).copied().unwrap_or_default()
    }

    /// Changes what an owner has, by a rule that may refuse it.
    fn change<T>(
        &self,
        bucket: Bucket,
        owner: &str,
        rule: impl FnOnce(&mut Use) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut uses = self.lock();
        let account = Account {
            bucket,
            owner: owner.to_owned(),
        };
        let entry = uses.entry(account.clone()).or_default();
        let mut changed = *entry;
        let result = rule(&mut changed);
        if result.is_ok() {
            *entry = changed;
        }
        if *entry == Use::default() {
            uses.remove(&account);
        }
        result
    }

    /// Counts what was found on the disk at the start, whatever the limits.
    pub fn found(&self, bucket: Bucket, owner: &str, found: Use) {
        let _ = self.change(bucket, owner, |used| {
            used.bytes += found.bytes;
            used.objects += found.objects;
            used.uploads += found.uploads;
            Ok(())
        });
    }

    /// An object of `key` was taken away.
    pub fn removed(&self, key: &Key, bytes: u64) {
        let _ = self.change(key.bucket(), key.owner(), |used| {
            used.bytes = used.bytes.saturating_sub(bytes);
            used.objects = used.objects.saturating_sub(1);
            Ok(())
        });
    }

    /// An object was counted with `size` bytes in the place of one with `replaced`, which is there after all.
    pub fn put_back(&self, key: &Key, replaced: u64, size: u64) {
        let _ = self.change(key.bucket(), key.owner(), |used| {
            used.bytes = (used.bytes + replaced).saturating_sub(size);
            Ok(())
        });
    }

    /// An object was counted with so many bytes, or none was, and it was found to be otherwise.
    pub fn correct(&self, key: &Key, counted: Option<u64>, found: Option<u64>) {
        let _ = self.change(key.bucket(), key.owner(), |used| {
            let (bytes, objects) = (found.unwrap_or(0), u64::from(found.is_some()));
            used.bytes = (used.bytes + bytes).saturating_sub(counted.unwrap_or(0));
            used.objects = (used.objects + objects).saturating_sub(counted.is_some().into());
            Ok(())
        });
    }

    pub fn upload_began(&self, key: &Key) -> Result<(), StorageError> {
        let max = self.limits.uploads_per_owner;
        self.change(key.bucket(), key.owner(), |used| {
            if used.uploads >= max {
                return Err(StorageError::TooManyUploads { max });
            }
            used.uploads += 1;
            Ok(())
        })
    }

    /// An upload with parts of so many bytes is gone.
    pub fn upload_ended(&self, key: &Key, bytes: u64) {
        let _ = self.change(key.bucket(), key.owner(), |used| {
            used.bytes = used.bytes.saturating_sub(bytes);
            used.uploads = used.uploads.saturating_sub(1);
            Ok(())
        });
    }
}

/// Bytes that are counted for an object that is still coming in. Dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Hold {
    ledger: Arc<Ledger>,
    key: Key,
    held: u64,
    /// Whether the bytes are counted elsewhere already.
    is_free: bool,
}

impl Hold {
    pub fn new(ledger: &Arc<Ledger>, key: &Key) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            key: key.clone(),
            held: 0,
            is_free: false,
        }
    }

    /// For content that is put together from parts, which are counted already.
    pub fn free(ledger: &Arc<Ledger>, key: &Key) -> Self {
        let mut hold = Self::new(ledger, key);
        hold.is_free = true;
        hold
    }

    /// Makes the hold cover `size` bytes. True if it grew: then the disk should be looked at as well.
    pub fn cover(&mut self, size: u64) -> Result<bool, StorageError> {
        if self.is_free || size <= self.held {
            return Ok(false);
        }
        let max = self.ledger.limits.bytes_per_owner;
        let least = size - self.held;
        let taken = self
            .ledger
            .change(self.key.bucket(), self.key.owner(), |used| {
                let left = max.saturating_sub(used.bytes);
                if least > left {
                    return Err(StorageError::OverQuota { max });
                }
                let taken = least.max(HOLD_STEP_BYTES).min(left);
                used.bytes += taken;
                Ok(taken)
            })?;
        self.held += taken;
        Ok(true)
    }

    /// The object is there with `size` bytes, in the place of one with `replaced` bytes. An object more may be
    /// refused; then nothing has changed but that the hold is gone.
    pub fn settle(mut self, size: u64, replaced: Option<u64>) -> Result<(), StorageError> {
        let held = std::mem::take(&mut self.held);
        let max = self.ledger.limits.objects_per_owner;
        let settled = self
            .ledger
            .change(self.key.bucket(), self.key.owner(), |used| {
                if replaced.is_none() {
                    if used.objects >= max {
                        return Err(StorageError::TooMany { max });
                    }
                    used.objects += 1;
                }
                used.bytes = (used.bytes + size).saturating_sub(held + replaced.unwrap_or(0));
                Ok(())
            });
        if settled.is_err() {
            self.held = held;
        }
        settled
    }

    /// The bytes are those of a part now, which counts with its upload.
    pub fn settle_part(mut self, size: u64, replaced: u64) {
        let held = std::mem::take(&mut self.held);
        let _ = self
            .ledger
            .change(self.key.bucket(), self.key.owner(), |used| {
                used.bytes = (used.bytes + size).saturating_sub(held + replaced);
                Ok(())
            });
    }
}

/// Bytes that are counted for an object that is about to be there. Dropped before it is, they are not.
#[derive(Debug)]
pub(crate) struct Settled {
    ledger: Arc<Ledger>,
    key: Key,
    size: u64,
    replaced: Option<u64>,
    is_kept: bool,
}

impl Settled {
    pub fn new(
        ledger: &Arc<Ledger>,
        key: &Key,
        hold: Hold,
        size: u64,
        replaced: Option<u64>,
    ) -> Result<Self, StorageError> {
        hold.settle(size, replaced)?;
        Ok(Self {
            ledger: Arc::clone(ledger),
            key: key.clone(),
            size,
            replaced,
            is_kept: false,
        })
    }

    /// The object is there.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        match self.replaced {
            _ if self.is_kept => {}
            // Counted as replaced, but it is there as before.
            Some(replaced) => self.ledger.put_back(&self.key, replaced, self.size),
            None => self.ledger.removed(&self.key, self.size),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.held == 0 {
            return;
        }
        let held = self.held;
        let _ = self
            .ledger
            .change(self.key.bucket(), self.key.owner(), |used| {
                used.bytes = used.bytes.saturating_sub(held);
                Ok(())
            });
    }
}
