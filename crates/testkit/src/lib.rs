//! Fixtures, fake runner, manual clock, seeded randomness.
