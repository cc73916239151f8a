//! People who come with a token of an identity provider (OpenID Connect).
//!
//! The provider's keys are told in `issuer`, its tokens in `jwt`, and which user a token stands for in `person`.
//!
//! Organizations have providers of their own (`sso`), whose people sign in with a browser (`arrival`) and may be users already
//! (`pending`). What makes a token good is the same for all.

pub(crate) mod arrival;
pub(crate) mod issuer;
pub(crate) mod jwt;
pub(crate) mod link;
pub(crate) mod pending;
pub(crate) mod person;
pub(crate) mod sso;
