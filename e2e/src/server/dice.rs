//! Chance that can be repeated: a test prints its seed, and `ALCOVE_SEED` brings the same run back.

use std::time::Duration;

/// Seeded numbers (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Takes the seed from `ALCOVE_SEED`, else by chance, and prints it.
    ///
    /// # Panics
    /// When `ALCOVE_SEED` is no number.
    pub fn roll_out(test: &str) -> Self {
        let seed = if let Ok(given) = std::env::var("ALCOVE_SEED") {
            given.parse().expect("ALCOVE_SEED is a number")
        } else {
            let mut bytes = [0; 4];
            let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
            drawn.expect("the kernel has random numbers");
            u64::from(u32::from_ne_bytes(bytes))
        };
        println!("{test}: ALCOVE_SEED={seed}");
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// When there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// Chance of its own, for work beside this.
    #[must_use]
    pub fn another(&mut self) -> Self {
        Self(self.roll())
    }

    /// A moment of the `part`-th of `parts` equal parts of a span: spread over it, yet by chance.
    ///
    /// # Panics
    /// When there are no parts.
    pub fn moment(&mut self, span: Duration, part: u32, parts: u32) -> Duration {
        let width = span / parts;
        let within = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX).max(1);
        width * part + Duration::from_nanos(self.roll() % within)
    }
}
