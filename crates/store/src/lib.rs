//! The only crate that knows SQL.

/// The database.
#[derive(Debug, Clone)]
pub struct Store {}
