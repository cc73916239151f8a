//! `alcove bench life`: what happens to sandboxes as wholes: stopped, started, many at once, copied, kept.

mod copies;
mod crowds;
mod report;
mod rounds;

use std::process::ExitCode;

use alcove_api_types::daytona::CreateSandbox;
use anyhow::ensure;
use tokio_util::sync::CancellationToken;

use self::report::Results;
use super::own_server::{OwnServer, Place};
use super::{Printed, Surroundings, interrupted};

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Starts a server of its own on a temporary data folder and measures the life of its sandboxes \
    through the public API.\n\n\
    stop: one sandbox, stopped, started, and a first command run in it, --rounds times.\n\n\
    burst: --burst creates sent at the same moment; each is timed until it is answered.\n\n\
    sustained: --lanes clients create and delete for --seconds; the rate, and by how much the server's private memory \
    and the open files of server and spawner have grown since the first tenth of that time.\n\n\
    copies: a sandbox with --size-mib in --files files is forked and snapshotted, and in turn a file of as many bytes is \
    written and copied where the data folder is, both synced. What is copied is not in memory, as a sandbox's disk is not.\n\n\
    stopped: --stopped sandboxes that are stopped; the server's resident memory and processor time while nothing happens."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only these measures.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Stops and starts that count.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Creates at the same moment.
    #[arg(long, default_value_t = 100)]
    burst: usize,
    /// Clients that create and delete without a pause.
    #[arg(long, default_value_t = 4)]
    lanes: usize,
    /// Seconds of creating and deleting, and of looking at a server at rest.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Size of what is in a sandbox that is copied, in MiB.
    #[arg(long, default_value_t = 1024)]
    size_mib: u64,
    /// Files that it is in.
    #[arg(long, default_value_t = 10_000)]
    files: u64,
    /// Copies of each kind.
    #[arg(long, default_value_t = 3)]
    copies: usize,
    /// Stopped sandboxes of a server at rest.
    #[arg(long, default_value_t = 1000)]
    stopped: usize,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    Stop,
    Burst,
    Sustained,
    Copies,
    Stopped,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    ensure!(
        arguments.rounds > 0
            && arguments.burst > 0
            && arguments.lanes > 0
            && arguments.seconds > 0
            && arguments.size_mib > 0
            && arguments.copies > 0
            && arguments.stopped > 0
            && (1..=arguments.size_mib << 10).contains(&arguments.files),
        "numbers must be at least 1, and a file at least 1 KiB"
    );
    let stop = interrupted()?;
    let host = Surroundings::now();
    let server = OwnServer::start(&arguments.place).await?;
    let measured = measure(&server, &arguments, &stop).await;
    let results = server.close_after(measured).await?;
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "burst": arguments.burst,
        "lanes": arguments.lanes,
        "seconds": arguments.seconds,
        "sizeMib": arguments.size_mib,
        "files": arguments.files,
        "stopped": arguments.stopped,
    });
    let found = serde_json::json!({ "measures": results });
    super::print(
        "life",
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
    let mut results = Results::default();
    let next = |measure| {
        let is_wanted = arguments.only.is_empty() || arguments.only.contains(&measure);
        is_wanted && !stop.is_cancelled()
    };
    if next(Measure::Stop) {
        results.stop = Some(rounds::measure(server, arguments.rounds, stop).await?);
    }
    if next(Measure::Burst) {
        results.burst = Some(crowds::burst(server, arguments.burst).await?);
    }
    if next(Measure::Sustained) {
        results.sustained = crowds::sustained(server, arguments, stop).await?;
    }
    if next(Measure::Copies) {
        results.copies = Some(copies::measure(server, arguments, stop).await?);
    }
    if next(Measure::Stopped) {
        results.stopped = crowds::stopped(server, arguments, stop).await?;
    }
    Ok(results)
}

/// A sandbox that nothing ends but its deletion.
fn lasting() -> CreateSandbox {
    CreateSandbox {
        auto_stop_interval: Some(0),
        ..CreateSandbox::default()
    }
}
