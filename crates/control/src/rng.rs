//! Randomness as a parameter.

use std::fmt;

/// A source of random bytes, good enough for secrets unless a test brings its own.
pub trait Rng: Send + Sync + fmt::Debug + 'static {
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness, through a generator of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        rand::fill(bytes);
    }
}

/// A random UUID (version 4).
pub(crate) fn uuid_v4(rng: &dyn Rng) -> uuid::Uuid {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
