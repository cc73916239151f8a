//! The log of the server: on standard error, and elsewhere where the operator wants that.

use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, filter, fmt};

use crate::own_telemetry::{Exporting, TARGET};

/// What is logged where ALCOVE_LOG does not say. s3s calls each refusal an error, and tells of whole requests at its
/// lower levels, credentials among them. What migrations do is told in one line by the store.
const LOG: &str =
    "info,sqlx=warn,sea_orm_migration=warn,socketioxide=warn,engineioxide=warn,s3s=off";

/// What the client that sends telemetry would say of its own requests.
const OF_SENDING: [&str; 3] = ["hyper", "h2", "rustls"];

fn wanted() -> EnvFilter {
    EnvFilter::try_from_env("ALCOVE_LOG").unwrap_or_else(|_| EnvFilter::new(LOG))
}

/// Lines of the log are those that ALCOVE_LOG lets through, here and elsewhere. Spans are made for elsewhere alone.
pub fn start(json: bool, exporting: Option<&Exporting>) {
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself takes metadata of one lifetime only"
    )]
    let is_line = || filter::filter_fn(|metadata| metadata.is_event());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().boxed()
    } else {
        lines.with_target(false).boxed()
    };
    let elsewhere = exporting.map(|exporting| {
        let is_span =
            filter::filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET);
        let is_ours = filter::filter_fn(|metadata| {
            let mut others = OF_SENDING.iter();
            !others.any(|other| metadata.target().starts_with(other))
        });
        let told = wanted().and(is_line()).and(is_ours);
        exporting.layer().with_filter(is_span.or(told))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(wanted().and(is_line())))
        .with(elsewhere)
        .init();
}
