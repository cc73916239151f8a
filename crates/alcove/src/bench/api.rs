//! `alcove bench api`: what a request of the API takes that reads one sandbox.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::edge::way::Way;
use super::own_server::{OwnServer, Place};
use super::promise::{self, Row};
use super::stats::Summary;
use super::{Printed, Surroundings, WARM_UP, crowd, interrupted};
use crate::address::read_key;

/// Requests before those that count, for each of the rounds that a cold start takes elsewhere.
const WARM_UP_REQUESTS: usize = 100 * WARM_UP;
/// Runs with many clients; the middle one counts.
const RUNS: usize = 3;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Starts a server of its own on a temporary data folder, makes a sandbox on it, and asks for that by its id \
    with an API key, over connections that are kept: first one client, request after request, then several at once for \
    some seconds, three times, of which the middle rate counts. Server and clients share this host."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Requests of the one client.
    #[arg(long, default_value_t = 5_000)]
    rounds: usize,
    /// Clients at once.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Seconds of each run with several clients.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measures {
    one_client: Option<Summary>,
    /// Requests a second with several clients, slowest run first.
    rates: Vec<f64>,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = interrupted()?;
    let host = Surroundings::now();
    let server = OwnServer::start(&arguments.place).await?;
    let outcome = measure(&server, &arguments, &stop).await;
    let measures = server.close_after(outcome).await?;
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "clients": arguments.clients,
        "seconds": arguments.seconds,
    });
    let found = serde_json::json!({ "measures": measures });
    super::print(
        "api",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || promise::table(&rows(&measures, arguments.clients)),
    )
}

async fn measure(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Measures> {
    let mut measures = Measures::default();
    let made = crowd::make(&server.client()?, 1, stop).await?;
    let Some(sandbox) = made.first() else {
        return Ok(measures);
    };
    let key = read_key(&server.data_dir()?)?;
    let way = Way::api(
        server.address(),
        format!("/api/sandbox/{}", sandbox.id),
        &key,
    );
    let mut connection = way.open().await?;
    for _ in 0..WARM_UP_REQUESTS {
        way.page(&mut connection).await?;
    }
    let mut samples = Vec::with_capacity(arguments.rounds);
    while samples.len() < arguments.rounds && !stop.is_cancelled() {
        samples.push(way.page(&mut connection).await?);
    }
    measures.one_client = Summary::of(&samples);
    for _ in 0..RUNS {
        if stop.is_cancelled() {
            break;
        }
        let rate = way.rate(arguments.clients, Duration::from_secs(arguments.seconds));
        let rate = rate.await.context("a client failed")?;
        measures.rates.push(rate);
    }
    measures.rates.sort_by(f64::total_cmp);
    Ok(measures)
}

fn rows(measures: &Measures, clients: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(one) = &measures.one_client {
        rows.push(Row::at_most("sandbox by id, p50", 1.0, one.p50_ms, "ms"));
    }
    if let Some(rate) = measures.rates.get(measures.rates.len() / 2) {
        rows.push(Row {
            name: "requests a second",
            target: "at least 4000".to_owned(),
            measured: format!("{rate:.0} with {clients} clients"),
            is_met: *rate >= 4000.0,
        });
    }
    rows
}
