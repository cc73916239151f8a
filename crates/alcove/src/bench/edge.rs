//! `alcove bench edge`: ports of sandboxes through the proxy, against going to the sandbox's address.

mod backend;
mod nginx;
mod report;
mod sockets;
mod way;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use self::backend::Backend;
use self::nginx::Nginx;
use self::report::{Rates, Results, Speeds};
use self::way::Way;
use super::own_server::{OwnServer, Place};
use super::stats::Summary;
use super::toolbox::subject::Subject;
use super::{Printed, Surroundings, WARM_UP, interrupted};
use crate::address::read_key;

/// Each measure of speed is taken so often, in turns.
const TURNS: usize = 3;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Starts a server of its own on a temporary data folder, makes two sandboxes, and serves on a port of each from \
    a small program of the benchmark, whose listener stands in the sandbox's network.\n\n\
    latency: one small page after another on a kept connection, through the proxy and straight to the sandbox's address, in \
    turns. speed: a body of --size-mib, down and up, both ways. rate: small pages by --clients at once, through the proxy and \
    through nginx as reverse proxy before the same listener (Debian's nginx-light), in turns. sockets: what --sockets idle \
    WebSockets through the proxy take of the server's memory."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Pages of the measure of latency, each way.
    #[arg(long, default_value_t = 2000)]
    rounds: usize,
    /// Clients at the same time.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seconds of each measure of the rate.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Size of the body, in MiB.
    #[arg(long, default_value_t = 1024)]
    size_mib: u64,
    /// Idle WebSockets; at most 2,000, since a sandbox has 1,024 requests open at once.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..=2000))]
    sockets: u32,
    #[command(flatten)]
    printed: Printed,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    ensure!(
        arguments.rounds > 0
            && arguments.clients > 0
            && arguments.seconds > 0
            && arguments.size_mib > 0,
        "--rounds, --clients, --seconds and --size-mib must be numbers from 1"
    );
    let stop = interrupted()?;
    let host = Surroundings::now();
    // Each socket is two descriptors here and two in the server, which inherits the limit.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    let server = OwnServer::start(&arguments.place).await?;
    let measured = measure(&server, &arguments, &stop).await;
    // The sandboxes go with their server.
    let results = server.close_after(measured).await?;
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "clients": arguments.clients,
        "sizeMib": arguments.size_mib,
        "sockets": arguments.sockets,
    });
    let found = serde_json::json!({ "measures": results });
    super::print(
        "edge",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || results.table(),
    )
}

async fn measure(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Results> {
    let key = read_key(&server.data_dir()?)?;
    let mut places = Vec::new();
    for _ in 0..2 {
        let subject = Subject::make(server).await?;
        let backend = Backend::start(&subject)?;
        let proxied = Way::proxied(server.address(), backend.port, &subject.sandbox.id, &key);
        places.push((subject, backend, proxied));
    }
    let [(subject, backend, proxied), (_, _, second)] = &places[..] else {
        anyhow::bail!("there are two sandboxes");
    };
    let direct = Way::direct(backend.address);
    let mut results = Results::default();
    let goes_on = || !stop.is_cancelled();
    if goes_on() {
        let [through, straight] = latencies([proxied, &direct], arguments.rounds, stop).await?;
        (results.proxied, results.direct) = (through, straight);
    }
    if goes_on() {
        results.rates = rates(proxied, &direct, arguments, stop).await?;
    }
    if goes_on() {
        let bytes = arguments.size_mib << 20;
        results.download = Some(speeds(proxied, &direct, bytes, Way::download).await?);
        results.upload = Some(speeds(proxied, &direct, bytes, Way::upload).await?);
    }
    if goes_on() {
        let count = usize::try_from(arguments.sockets)?;
        let bytes = sockets::measure([proxied, second], count, subject.server_pid).await?;
        results.socket_bytes = Some(bytes);
    }
    Ok(results)
}

/// In turns, so that both see the same host.
async fn latencies(
    ways: [&Way; 2],
    rounds: usize,
    stop: &CancellationToken,
) -> anyhow::Result<[Option<Summary>; 2]> {
    let mut samples = [Vec::new(), Vec::new()];
    let mut connections = [ways[0].open().await?, ways[1].open().await?];
    for round in 0..WARM_UP + rounds {
        for ((way, connection), samples) in
            ways.iter().zip(&mut connections).zip(samples.iter_mut())
        {
            let took = way.page(connection).await?;
            if round >= WARM_UP {
                samples.push(took);
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(samples.map(|samples| Summary::of(&samples)))
}

async fn rates(
    proxied: &Way,
    direct: &Way,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Rates>> {
    let Some(nginx) = Nginx::start(direct).await? else {
        return Ok(None);
    };
    let (mut ours, mut theirs) = (0.0, 0.0);
    let time = Duration::from_secs(arguments.seconds);
    for _ in 0..TURNS {
        ours += proxied.rate(arguments.clients, time).await?;
        theirs += nginx.way.rate(arguments.clients, time).await?;
        if stop.is_cancelled() {
            return Ok(None);
        }
    }
    let turns = f64::from(u32::try_from(TURNS)?);
    Ok(Some(Rates {
        proxied: ours / turns,
        nginx: theirs / turns,
    }))
}

/// MiB a second, the median of some turns.
async fn speeds(
    proxied: &Way,
    direct: &Way,
    bytes: u64,
    go: impl AsyncFn(&Way, u64) -> anyhow::Result<f64>,
) -> anyhow::Result<Speeds> {
    let (mut through, mut straight) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        through.push(go(proxied, bytes).await?);
        straight.push(go(direct, bytes).await?);
    }
    let median = |mut speeds: Vec<f64>| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    };
    Ok(Speeds {
        proxied: median(through),
        direct: median(straight),
    })
}
