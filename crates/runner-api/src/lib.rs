//! What the control plane and a runner say to each other.
//!
//! The control plane orders what should be (an [`Order`] with a [`Generation`]); the runner answers and
//! reports what is (a [`Report`] with the generation it stems from). Every order can be repeated, every
//! report can be late: whoever reads one compares generations and drops the stale.

pub mod v1;

pub use v1::*;
