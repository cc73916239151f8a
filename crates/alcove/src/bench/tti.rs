//! `alcove bench tti`: from the create to the first output of a command, as a client sees it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alcove_agent_api::ExecuteRequest;
use alcove_api_types::daytona::{CreateSandbox, Sandbox};
use alcove_client::Client;
use anyhow::{Context, ensure};
use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::floor::{self, Floor};
use super::stats::{Summary, ratio};
use super::target::{Target, delete_all};
use super::{ECHO_COMMAND, ECHO_OUTPUT, Printed, Surroundings, WARM_UP, interrupted, rest, table};
use crate::address::Address;

/// The label by which everything of one run is found again.
const RUN_LABEL: &str = "alcove-bench";

/// Should this program be killed, the server removes its sandboxes after so many idle minutes.
const ORPHAN_MINUTES: i64 = 5;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(long_about = "Measures a running server through its HTTP API.\n\n\
    A round creates a sandbox, runs `echo ready` in it, runs `true` in it, and deletes it. `first output` is the \
    time from sending the create to having read the output of the first command. Connections are kept; some \
    rounds run before those that count.\n\n\
    With --with-floor each round is followed by one of `alcove bench floor`, so that both see the same machine, \
    and the ratios of the medians are printed. Whatever was made is deleted on every way out.")]
pub struct Arguments {
    #[command(flatten)]
    target: Address,
    /// Rounds that count.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Milliseconds between rounds, as on a quiet server; 0 runs them back to back.
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
    /// Rounds at the same time.
    #[arg(long, default_value_t = 1, conflicts_with = "with_floor")]
    concurrency: usize,
    /// Snapshot of the sandboxes; the server's default where it is not given.
    #[arg(long)]
    snapshot: Option<String>,
    /// Measures the floor of this host in between.
    #[arg(long)]
    with_floor: bool,
    #[command(flatten)]
    floor: floor::Place,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measures {
    create: Option<Summary>,
    first_output: Option<Summary>,
    execute: Option<Summary>,
    delete: Option<Summary>,
}

#[derive(Debug, Default)]
struct Samples {
    create: Vec<Duration>,
    first_output: Vec<Duration>,
    execute: Vec<Duration>,
    delete: Vec<Duration>,
}

impl Samples {
    fn measures(&self) -> Measures {
        Measures {
            create: Summary::of(&self.create),
            first_output: Summary::of(&self.first_output),
            execute: Summary::of(&self.execute),
            delete: Summary::of(&self.delete),
        }
    }

    fn push(&mut self, round: &Round) {
        self.create.push(round.create);
        self.first_output.push(round.first_output);
        self.execute.push(round.execute);
        self.delete.push(round.delete);
    }
}

#[derive(Debug, Clone, Copy)]
struct Round {
    create: Duration,
    first_output: Duration,
    execute: Duration,
    delete: Duration,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = interrupted()?;
    let host = Surroundings::now();
    let target = Target::find(&arguments.target).await?;
    let mut floor = if arguments.with_floor {
        Some(Floor::open(&arguments.floor).await?)
    } else {
        None
    };
    let bench = Bench {
        client: target.client.with_timeout(Some(CALL_TIMEOUT)),
        create: create_body(&arguments),
        pause: Duration::from_millis(arguments.pause_ms),
        stop: stop.clone(),
    };
    let resident_before = target.resident_bytes();
    let mut floor_samples = floor::Samples::default();
    let samples = match &mut floor {
        Some(floor) => {
            bench
                .with_floor(arguments.rounds, floor, &mut floor_samples)
                .await
        }
        None => bench.alone(arguments.rounds, arguments.concurrency).await,
    };
    // What is left is looked at after the pause that the last round had coming.
    let resident_after = target.resident_bytes();
    let cleared = delete_all(&bench.client, bench.create.labels.clone()).await;
    if let Some(floor) = floor {
        floor.close().await;
    }
    let measures = samples?.measures();
    cleared.context("cannot delete what this run has made")?;

    let floor = arguments.with_floor.then(|| floor_samples.result());
    let to = |summary: Option<&Summary>| ratio(measures.first_output.as_ref(), summary);
    let to_process = floor.as_ref().and_then(|f| to(f.process.as_ref()));
    let to_isolated = floor.as_ref().and_then(|f| to(f.isolated.as_ref()));
    let to_sandbox = floor.as_ref().and_then(|f| to(f.sandbox.as_ref()));
    let parameters = serde_json::json!({
        "rounds": arguments.rounds,
        "pauseMs": arguments.pause_ms,
        "concurrency": arguments.concurrency,
        "snapshot": arguments.snapshot,
    });
    let found = serde_json::json!({
        "measures": measures,
        "floor": floor,
        "ratios": {
            "firstOutputToProcessFloor": to_process,
            "firstOutputToIsolatedFloor": to_isolated,
            "firstOutputToSandboxFloor": to_sandbox,
        },
        "server": { "residentBytesBefore": resident_before, "residentBytesAfter": resident_after },
    });
    super::print(
        "tti",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || {
            let mut rows = vec![
                ("create answered", measures.create.as_ref()),
                ("first output", measures.first_output.as_ref()),
                ("execute `true`", measures.execute.as_ref()),
                ("delete answered", measures.delete.as_ref()),
            ];
            rows.extend(floor.as_ref().map(floor::rows).into_iter().flatten());
            let mut facts = Vec::new();
            for (name, ratio) in [
                ("first output / floor: process, p50", to_process),
                ("first output / floor: isolated, p50", to_isolated),
                ("first output / floor: sandbox, p50", to_sandbox),
            ] {
                facts.extend(ratio.map(|ratio| (name, format!("{ratio:.2}"))));
            }
            for (name, bytes) in [
                ("server resident before", resident_before),
                ("server resident after", resident_after),
            ] {
                facts.extend(bytes.map(|bytes| (name, table::mib(bytes))));
            }
            table::summaries(&rows) + &table::facts(&facts)
        },
    )
}

fn create_body(arguments: &Arguments) -> CreateSandbox {
    let run = format!(
        "{}-{:x}",
        std::process::id(),
        std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_micros())
    );
    CreateSandbox {
        snapshot: arguments.snapshot.clone(),
        labels: BTreeMap::from([(RUN_LABEL.to_owned(), run)]),
        auto_stop_interval: Some(ORPHAN_MINUTES),
        auto_delete_interval: Some(0),
        ..CreateSandbox::default()
    }
}

struct Bench {
    client: Client,
    create: CreateSandbox,
    pause: Duration,
    stop: CancellationToken,
}

impl Bench {
    async fn alone(&self, rounds: usize, concurrency: usize) -> anyhow::Result<Samples> {
        let begun = AtomicUsize::new(0);
        let lanes = (0..concurrency.max(1)).map(async |_| {
            let mut counted = Vec::new();
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= WARM_UP + rounds || self.stop.is_cancelled() {
                    return anyhow::Ok(counted);
                }
                let round = self.round().await.inspect_err(|_| {
                    // The run has failed: no lane begins another round.
                    begun.store(usize::MAX / 2, Ordering::Relaxed);
                })?;
                if number >= WARM_UP {
                    counted.push(round);
                }
                rest(self.pause, &self.stop).await;
            }
        });
        let mut samples = Samples::default();
        // All are waited for, also when one has failed: what they have under way is then known and deleted.
        for counted in join_all(lanes).await {
            for round in counted? {
                samples.push(&round);
            }
        }
        Ok(samples)
    }

    async fn with_floor(
        &self,
        rounds: usize,
        floor: &mut Floor,
        floor_samples: &mut floor::Samples,
    ) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        for number in 0..WARM_UP + rounds {
            if self.stop.is_cancelled() {
                break;
            }
            if number == WARM_UP {
                samples = Samples::default();
                *floor_samples = floor::Samples::default();
            }
            samples.push(&self.round().await?);
            rest(self.pause, &self.stop).await;
            floor.round(floor_samples, self.pause, &self.stop).await?;
        }
        Ok(samples)
    }

    /// Never broken off in the middle: what it has made it deletes, unless the server fails.
    async fn round(&self) -> anyhow::Result<Round> {
        let began = Instant::now();
        let sandbox = self
            .client
            .create(&self.create)
            .await
            .context("a create failed")?;
        let create = began.elapsed();
        let worked = self.work(&sandbox, began).await;
        let asked = Instant::now();
        let deleted = self.client.delete(&sandbox.id).await;
        let delete = asked.elapsed();
        let (first_output, execute) = worked?;
        deleted.context("a delete failed")?;
        Ok(Round {
            create,
            first_output,
            execute,
            delete,
        })
    }

    async fn work(
        &self,
        sandbox: &Sandbox,
        began: Instant,
    ) -> anyhow::Result<(Duration, Duration)> {
        let toolbox = self.client.toolbox(sandbox)?;
        let first = toolbox
            .execute(&command(ECHO_COMMAND))
            .await
            .context("the first execute failed")?;
        let first_output = began.elapsed();
        ensure!(
            first.exit_code == 0 && first.result == ECHO_OUTPUT,
            "`{ECHO_COMMAND}` answered {first:?}"
        );
        let asked = Instant::now();
        let second = toolbox
            .execute(&command("true"))
            .await
            .context("the second execute failed")?;
        let execute = asked.elapsed();
        ensure!(second.exit_code == 0, "`true` answered {second:?}");
        Ok((first_output, execute))
    }
}

fn command(text: &str) -> ExecuteRequest {
    ExecuteRequest {
        command: text.to_owned(),
        timeout: Some(10),
        ..ExecuteRequest::default()
    }
}
