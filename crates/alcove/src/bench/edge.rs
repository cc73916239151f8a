//! `alcove bench edge`: the ways in and out of sandboxes, each against the same without us.

mod backend;
mod gate;
mod network;
mod nginx;
mod outside;
mod policy;
mod report;
mod sockets;
mod ssh;
pub(super) mod way;

use std::process::ExitCode;
use std::time::Duration;

use alcove_api_types::daytona::CreateSandbox;
use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use self::backend::Backend;
use self::gate::Gate;
use self::network::Network;
use self::nginx::Nginx;
use self::outside::{Names, Outside};
use self::report::{Missing, Rates, Results, Speeds};
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
    WebSockets through the proxy take of the server's memory. ssh: the same of --sessions terminals of OpenSSH's client \
    (Debian's openssh-client).\n\n\
    gate: a third sandbox has a list of one name, of a machine that is a network namespace beside the host. From the connect \
    to the first byte of the answer, each time on a new connection that begins as TLS does, through the gate and from a sandbox \
    without a list, in turns; then --size-mib down, both ways. Nothing is encrypted. Takes the addresses 198.51.100.76/30 \
    and the programs ip, unshare and nsenter.\n\n\
    policy: before the server starts, on the runner's own code for the network: a slot that was made ahead, and the policy of \
    a sandbox in it, which is what a create waits for; each of at most 100 --rounds once the pool is full again."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only these measures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Pages and connections of the measures of latency, each way.
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
    /// Idle SSH sessions; at most 128, since a sandbox has 64 at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(3..=128))]
    sessions: u32,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    Policy,
    Latency,
    Rate,
    Speed,
    Gate,
    Sockets,
    Ssh,
}

impl Arguments {
    fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    fn bytes(&self) -> u64 {
        self.size_mib << 20
    }
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
    let mut results = Results::default();
    if arguments.wants(Measure::Policy) {
        let pool = arguments.place.network_pool;
        results.policy = Some(policy::measure(pool, arguments.rounds, &stop).await?);
    }
    if arguments.only != [Measure::Policy] && !stop.is_cancelled() {
        with_server(&mut results, &arguments, &stop).await?;
    }
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "clients": arguments.clients,
        "sizeMib": arguments.size_mib,
        "sockets": arguments.sockets,
        "sessions": arguments.sessions,
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

async fn with_server(
    results: &mut Results,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    // Whom the server asks for names.
    let names = Names::start().await?;
    let asks = vec!["--dns-servers".to_owned(), names.address.to_string()];
    let server = OwnServer::start_with(&arguments.place, asks).await?;
    let measured = measure(&server, results, arguments, stop).await;
    // The sandboxes go with their server.
    server.close_after(measured).await
}

async fn measure(
    server: &OwnServer,
    results: &mut Results,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let key = read_key(&server.data_dir()?)?;
    let mut places = Vec::new();
    for _ in 0..2 {
        let subject = Subject::make(server).await?;
        let backend = Backend::start(&subject)?;
        let proxied = Way::proxied(server.address(), backend.port, &subject.sandbox.id, &key);
        places.push((subject, backend, proxied));
    }
    let [(subject, backend, proxied), (other, _, second)] = &places[..] else {
        anyhow::bail!("there are two sandboxes");
    };
    let direct = Way::direct(backend.address);
    let next = |measure| !stop.is_cancelled() && arguments.wants(measure);
    if next(Measure::Latency) {
        let [through, straight] = latencies([proxied, &direct], arguments.rounds, stop).await?;
        (results.proxied, results.direct) = (through, straight);
    }
    if next(Measure::Rate) {
        match Nginx::start(&direct).await? {
            Some(nginx) => results.rates = rates(proxied, &nginx.way, arguments, stop).await?,
            None => results.missing.push(Missing::Nginx),
        }
    }
    if next(Measure::Speed) {
        let bytes = arguments.bytes();
        results.download = Some(speeds(proxied, &direct, bytes, Way::download).await?);
        results.upload = Some(speeds(proxied, &direct, bytes, Way::upload).await?);
    }
    if next(Measure::Gate) {
        match Outside::start().await? {
            Some(outside) => {
                let found = names(server, subject, &outside, arguments, stop).await?;
                results.gate = Some(found);
            }
            None => results.missing.push(Missing::Tools),
        }
    }
    if next(Measure::Sockets) {
        let count = usize::try_from(arguments.sockets)?;
        let bytes = sockets::measure([proxied, second], count, subject.server_pid).await?;
        results.socket_bytes = Some(bytes);
    }
    if next(Measure::Ssh) {
        let count = usize::try_from(arguments.sessions)?;
        results.session_bytes = ssh::measure([subject, other], count, stop).await?;
        if results.session_bytes.is_none() && !stop.is_cancelled() {
            results.missing.push(Missing::Ssh);
        }
    }
    Ok(())
}

async fn names(
    server: &OwnServer,
    open: &Subject,
    outside: &Outside,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Gate> {
    let create = CreateSandbox {
        domain_allow_list: Some(gate::NAME.to_owned()),
        ..CreateSandbox::default()
    };
    let listed = Subject::make_with(server, create).await?;
    let plan = gate::Plan {
        listed: Network::of(u32::try_from(listed.agent.pid)?)?,
        open: Network::of(u32::try_from(open.agent.pid)?)?,
        pool: arguments.place.network_pool,
        rounds: arguments.rounds,
        bytes: arguments.bytes(),
    };
    gate::measure(plan, outside, stop).await
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
    nginx: &Way,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Rates>> {
    let (mut ours, mut theirs) = (0.0, 0.0);
    let time = Duration::from_secs(arguments.seconds);
    for _ in 0..TURNS {
        ours += proxied.rate(arguments.clients, time).await?;
        theirs += nginx.rate(arguments.clients, time).await?;
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
    Ok(Speeds {
        proxied: median(through).unwrap_or_default(),
        direct: median(straight).unwrap_or_default(),
    })
}

/// None of none.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
