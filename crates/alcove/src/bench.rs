//! `alcove bench`: measures a server, this host, and the two against each other.

mod api;
mod crowd;
mod edge;
mod floor;
mod idle;
mod life;
mod lists;
mod own_server;
mod proc;
mod promise;
mod restart;
mod stats;
mod table;
mod target;
mod toolbox;
mod tti;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Rounds before those that count: first connections, cold caches, pools that fill.
const WARM_UP: usize = 5;

/// Addresses of sandboxes that a benchmark makes without the server it measures; apart from the server's own.
const NETWORK_POOL: &str = "10.199.0.0/20";

/// Under the system's folder for things that may go.
const SCRATCH: &str = "/tmp";

/// The command whose output ends a create, and that output.
const ECHO_COMMAND: &str = "echo ready";
const ECHO_OUTPUT: &str = "ready\n";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Requests of the API that read one sandbox, on a server of its own.
    Api(api::Arguments),
    /// Time to interactive: create, then the first output of a command, over HTTP.
    Tti(tti::Arguments),
    /// Ports of sandboxes through the proxy, on a server of its own.
    Edge(edge::Arguments),
    /// What this host takes to isolate, without a server.
    Floor(floor::Arguments),
    /// Memory of an idle sandbox, on a server of its own.
    Idle(idle::Arguments),
    /// Stops, starts, bursts and copies of sandboxes, on a server of its own.
    Life(life::Arguments),
    /// Pages of lists among very many sandboxes, from the database alone.
    Lists(lists::Arguments),
    /// How long sandboxes are out of reach when the server is killed and started again.
    Restart(restart::Arguments),
    /// What can be done inside one sandbox, on a server of its own.
    Toolbox(toolbox::Arguments),
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Api(arguments) => api::run(arguments).await,
        Command::Tti(arguments) => tti::run(arguments).await,
        Command::Edge(arguments) => edge::run(arguments).await,
        Command::Floor(arguments) => floor::run(arguments).await,
        Command::Idle(arguments) => idle::run(arguments).await,
        Command::Life(arguments) => life::run(arguments).await,
        Command::Lists(arguments) => lists::run(arguments).await,
        Command::Restart(arguments) => restart::run(arguments).await,
        Command::Toolbox(arguments) => toolbox::run(arguments).await,
    }
}

/// Under what circumstances something was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Surroundings {
    kernel: String,
    processors: usize,
    /// The one-minute load average at the start.
    load: Option<f64>,
}

impl Surroundings {
    fn now() -> Self {
        Self {
            kernel: proc::kernel(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            load: proc::load(),
        }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
struct Printed {
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Cancelled by Ctrl-C. Nothing is broken off by it: whoever works looks at it between two steps, so that
/// there is never something half-made that nobody knows of.
fn interrupted() -> anyhow::Result<CancellationToken> {
    let stop = crate::serve::stop_signal()?;
    let stopped = stop.clone();
    tokio::spawn(async move {
        stopped.cancelled().await;
        eprintln!("alcove: stopping; what was made is being removed");
    });
    Ok(stop)
}

/// A pause that ends early when there is nothing to wait for any more.
async fn rest(pause: Duration, stop: &CancellationToken) {
    if !pause.is_zero() {
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// Prints what a benchmark found, as one object of JSON or as its table, and says how the process ends.
///
/// `parameters` and `results` are objects, whose fields stand beside what all benchmarks tell.
fn print(
    name: &'static str,
    printed: Printed,
    host: &Surroundings,
    stop: &CancellationToken,
    (parameters, results): (Value, Value),
    table: impl FnOnce() -> String,
) -> anyhow::Result<ExitCode> {
    if printed.json {
        let mut all = serde_json::json!({
            "bench": name,
            "interrupted": stop.is_cancelled(),
            "host": host,
        });
        for part in [parameters, results] {
            let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) else {
                bail!("parameters and results of {name} are no objects");
            };
            all.extend(part);
        }
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        print!("{}", table());
    }
    Ok(exit_code(stop))
}

fn exit_code(stop: &CancellationToken) -> ExitCode {
    if stop.is_cancelled() {
        // What shells say of a program that Ctrl-C ended.
        ExitCode::from(130)
    } else {
        ExitCode::SUCCESS
    }
}

fn scratch_folder(parent: &Path) -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("alcove-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))
}
