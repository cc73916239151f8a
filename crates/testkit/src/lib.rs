//! What tests of several crates share. Only tests depend on this crate.
