//! `alcove bench toolbox`: what can be done inside one sandbox, against what the host takes for the same.

mod execute;
mod follow;
mod interactive;
mod loopback;
mod quiet;
mod report;
pub(super) mod subject;
mod transfer;

use std::process::ExitCode;

use anyhow::ensure;
use tokio_util::sync::CancellationToken;

use self::report::Results;
use self::subject::Subject;
use super::own_server::{OwnServer, Place};
use super::{Printed, Surroundings, interrupted};

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Starts a server of its own on a temporary data folder, makes one sandbox, and measures its toolbox \
    through the public API.\n\n\
    quiet: the agent at rest, before it was asked anything: resident memory, threads, wake-ups.\n\n\
    execute: `true`, through the API and directly at the agent's socket, in turns; then by --clients at once, in turns \
    with as many bare loops of spawn and wait as the sandbox has cores, which run the same shell.\n\n\
    transfer: a file of --size-mib there and back through the API, in turns with the same bytes through one plain hyper \
    proxy on loopback, that reads and writes no file, and with a plain write and read of such a file by dd in the \
    sandbox; with the growth of agent and server.\n\n\
    follow: session output of --size-mib followed live; every byte is compared.\n\n\
    interpreter: `1+1` in a warm context. terminal: the echo of one byte."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only these measures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Rounds of each measure of latency that count.
    #[arg(long, default_value_t = 500)]
    rounds: usize,
    /// Clients at the same time, for throughput.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Size of files and of session output, in MiB.
    #[arg(long, default_value_t = 1024)]
    size_mib: u64,
    /// Seconds of each measure of throughput, and of the agent's rest.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    Quiet,
    Execute,
    Transfer,
    Follow,
    Interpreter,
    Terminal,
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
            && arguments.size_mib > 0
            && arguments.seconds > 0,
        "--rounds, --clients, --size-mib and --seconds must be numbers from 1"
    );
    let stop = interrupted()?;
    let host = Surroundings::now();
    let server = OwnServer::start(&arguments.place).await?;
    let measured = measure(&server, &arguments, &stop).await;
    // The sandbox goes with its server.
    let results = server.close_after(measured).await?;
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "clients": arguments.clients,
        "sizeMib": arguments.size_mib,
    });
    let found = serde_json::json!({ "measures": results });
    super::print(
        "toolbox",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || results.table(),
    )
}

/// Each measure that is wanted, until it is stopped.
async fn measure(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Results> {
    let subject = Subject::make(server).await?;
    let mut results = Results::default();
    let next = |measure| !stop.is_cancelled() && arguments.wants(measure);
    // First, since nothing has happened yet.
    if next(Measure::Quiet) {
        results.quiet = quiet::measure(&subject, arguments.seconds, stop).await?;
    }
    if next(Measure::Execute) {
        results.execute = Some(execute::measure(&subject, arguments, stop).await?);
    }
    if next(Measure::Interpreter) {
        results.interpreter =
            interactive::interpreter(&subject.toolbox, arguments.rounds, stop).await?;
    }
    if next(Measure::Terminal) {
        results.terminal = interactive::terminal(&subject.toolbox, arguments.rounds, stop).await?;
    }
    if next(Measure::Transfer) {
        results.transfer = Some(transfer::measure(&subject, arguments.bytes()).await?);
    }
    if next(Measure::Follow) {
        results.follow = Some(follow::measure(&subject, arguments.bytes()).await?);
    }
    Ok(results)
}
