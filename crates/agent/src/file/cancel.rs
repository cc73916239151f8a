//! Work that blocks, and whether anybody still waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Held by whoever waits; gone when the request is.
#[derive(Debug)]
pub struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Held by the work.
#[derive(Debug)]
pub struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// For work that goes on whoever waits.
    #[cfg(test)]
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// # Errors
    /// Nobody waits any more.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
        Ok(())
    }
}

pub fn pair() -> (Waiting, Cancelled) {
    let flag = Arc::<AtomicBool>::default();
    (Waiting(flag.clone()), Cancelled(flag))
}
