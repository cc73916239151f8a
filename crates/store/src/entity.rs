//! Rows. Private to the crate.

pub(crate) mod api_key;
pub(crate) mod build;
pub(crate) mod command;
pub(crate) mod departed_organization;
pub(crate) mod ended_preview;
pub(crate) mod invitation;
pub(crate) mod member;
pub(crate) mod member_role;
pub(crate) mod organization;
pub(crate) mod outbox;
pub(crate) mod quota;
pub(crate) mod registry;
pub(crate) mod role;
pub(crate) mod sandbox;
pub(crate) mod sandbox_label;
pub(crate) mod sandbox_volume;
pub(crate) mod secret;
pub(crate) mod signing_key;
pub(crate) mod snapshot;
pub(crate) mod ssh_access;
pub(crate) mod ssh_key;
pub(crate) mod usage_entry;
pub(crate) mod usage_total;
pub(crate) mod user;
pub(crate) mod volume;
pub(crate) mod warm_pool;
