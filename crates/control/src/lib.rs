//! Use-cases, reconcilers and timers.
