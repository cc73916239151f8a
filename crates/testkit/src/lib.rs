//! What tests of several crates share: a clock moved by hand, seeded randomness, a runner that plays a
//! host, a control plane over a fresh store, and waiting on a condition.
//!
//! Only tests depend on this crate. The fake runner stands in for a host in tests of `control` and
//! `server`; whole-system tests use the real one.

pub mod acme;
mod clock;
mod control;
mod fake_runner;
pub mod fuzz;
mod lossy;
mod postgres;
mod probe;
pub mod registry;
mod rng;
pub mod template;
mod wait;
mod webhooks;

pub use alcove_runner_api::{Sighting, Wanted};
pub use alcove_store::AuditPage;
pub use clock::ManualClock;
pub use control::{KeptKeys, SAMPLE_EVERY, TestControl, TestStore};
pub use fake_runner::{DEFAULT_IMAGE, FakeRunner};
pub use lossy::LossyPostgres;
pub use postgres::Postgres;
pub use probe::HoldAt;
pub use rng::SeededRng;
pub use wait::{DEADLINE, eventually, within};
pub use webhooks::{FakeWebhooks, Sent};
