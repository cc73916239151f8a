//! The only crate that knows SQL.
//!
//! [`Store`] opens the database, brings its schema up to date and hands out two things that are types of
//! their own, so that a signature says which it needs: a [`Reader`] (any number at once, cannot write)
//! and a [`Tx`] (one at a time). Rows never leave the crate; what comes out is `alcove-domain`'s.
//!
//! To add a table: a migration in `migration/`, an entity in `entity/`, methods on [`Reader`] and [`Tx`]
//! in a file of its own named after the noun, and the schema snapshot read and accepted.
//!
//! SQLite in the data folder is the default, PostgreSQL the other choice; every test of this crate runs on both.
//!
//! SQL here must mean the same on SQLite and PostgreSQL: times are whole milliseconds in a bigint, maps are
//! JSON texts that only this crate reads, hashes are hex texts.

mod administration;
mod api_key;
mod audit;
mod build;
mod closing;
mod command;
mod convert;
mod copy;
mod device_login;
mod entity;
mod error;
mod host_bound;
mod identity;
mod image_use;
mod invitation;
mod login;
mod login_session;
mod mail;
mod member;
mod migration;
mod open;
mod organization;
mod organization_setting;
mod outbox;
mod own_rate_limit;
mod preview;
mod quota;
mod region;
mod registry;
mod role;
mod runner;
mod sandbox;
mod sealed;
mod secret;
mod service_credential;
mod signing_key;
mod snapshot;
mod ssh_access;
mod ssh_key;
mod sso;
mod totp;
mod usage;
mod usage_period;
mod user;
mod vault;
mod volume;
mod warm_pool;
mod webhook;

pub use administration::NewestFirst;
pub use audit::{AuditBreak, AuditFault, AuditPage, CheckedLog, Deed, ExportCheck, acting};
pub use command::{Claim, OpenCommand, OwnerId};
pub use copy::schema_steps;
pub use error::StoreError;
pub use identity::Identity;
pub use open::{Reader, Store, Tx};
pub use organization_setting::SealedSettings;
pub use outbox::{
    NewOutboxEntry, OutboxChange, OutboxEntry, OutboxEvent, SnapshotChange, VolumeChange,
};
pub use quota::QuotaKey;
pub use registry::SealedRegistry;
pub use sandbox::{SandboxCursor, SortKey};
pub use sealed::{SealedPlace, SealedRow};
pub use snapshot::{SNAPSHOT, SnapshotOutcome};
pub use sso::SealedSsoProvider;
pub use usage_period::UsagePeriods;
pub use vault::SealedVaultSecret;
pub use webhook::{PendingDelivery, SealedEndpoint, WebhookApplication};
