//! The HTTP face: routes by client family, errors, OpenAPI, events.
//!
//! A handler parses, authenticates, calls one method of the control plane and turns the answer into the
//! client's JSON. It holds no rule and no query. What is the same for all answers (request id, CORS,
//! error body, version headers) is done once, in [`App`].

mod app;
mod audit;
mod error;
mod events;
mod extract;
mod inside;
mod machine;
mod mail;
mod metrics;
mod openapi;
mod otlp;
mod outside;
mod page;
mod parcel;
mod present;
mod previews;
mod query;
mod redirect;
mod routes;
mod serve;
mod session;
mod sso;
mod throttle;
mod tls;
mod webhooks;

pub use app::{App, AppService, ObjectStorage, Options, SshGateway};
pub use mail::{MailSettings, MailSettingsError, MailTls, Mailer};
pub use openapi::document as openapi_document;
pub use otlp::Otlp;
pub use redirect::{HttpChallenges, Redirect};
pub use routes::daytona::audit::exported;
pub use routes::page::password_url;
pub use routes::{Access, PAGE_ROUTES, Route, VERCEL_ROUTES, all_routes};
pub use serve::{Listener, serve, serve_with};
pub use sso::Sso;
pub use tls::{Certificate, Tls, TlsError, TlsMode};
pub use webhooks::Webhooks;
