//! People who come with a token of an identity provider (OpenID Connect).
//!
//! The provider's keys are told in `issuer`, its tokens in `jwt`, and which user a token stands for in `person`.

pub(crate) mod issuer;
pub(crate) mod jwt;
pub(crate) mod link;
pub(crate) mod person;
