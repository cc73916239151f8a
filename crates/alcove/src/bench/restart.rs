//! `alcove bench restart`: how long sandboxes are out of reach when the server is killed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use alcove_agent_api::ExecuteRequest;
use alcove_api_types::daytona::Sandbox;
use alcove_client::Client;
use anyhow::Context;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::own_server::{OwnServer, Place};
use super::stats::{Summary, ms};
use super::{Printed, Surroundings, crowd, interrupted, table};

/// Executes beside each other.
const ASKERS: usize = 4;

/// Within this a sandbox answers or never will.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

const RETRY_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Starts a server of its own on a temporary data folder and makes sandboxes on it. Then, \
    round after round, kills the server with SIGKILL, starts it again, and runs `true` in every sandbox through \
    the API, four at a time, again and again until it succeeds.\n\n\
    All times count from the start of the new process: `listens` until it says where it is, `first answers` until \
    one sandbox has run the command, `all answer` until all have."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Sandboxes that run meanwhile.
    #[arg(long, short = 'n', default_value_t = 50)]
    sandboxes: usize,
    /// Kills.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Default)]
struct Samples {
    listens: Vec<Duration>,
    first: Vec<Duration>,
    all: Vec<Duration>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measures {
    listens: Option<Summary>,
    first_answers: Option<Summary>,
    all_answer: Option<Summary>,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = interrupted()?;
    let host = Surroundings::now();
    let mut server = OwnServer::start(&arguments.place).await?;
    let samples = measure(&mut server, &arguments, &stop).await;
    let samples = server.close_after(samples).await?;
    let measures = Measures {
        listens: Summary::of(&samples.listens),
        first_answers: Summary::of(&samples.first),
        all_answer: Summary::of(&samples.all),
    };
    let parameters = serde_json::json!({
        "sandboxes": arguments.sandboxes,
        "rounds": arguments.rounds,
    });
    let found = serde_json::json!({ "measures": measures });
    super::print(
        "restart",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || {
            table::summaries(&[
                ("listens", measures.listens.as_ref()),
                ("first answers", measures.first_answers.as_ref()),
                ("all answer", measures.all_answer.as_ref()),
            ])
        },
    )
}

async fn measure(
    server: &mut OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    let sandboxes = crowd::make(&server.client()?, arguments.sandboxes, stop).await?;
    for round in 1..=arguments.rounds {
        if stop.is_cancelled() {
            break;
        }
        server.kill().await?;
        let began = Instant::now();
        server.launch().await?;
        samples.listens.push(began.elapsed());
        let client = server.client()?;
        let answered = stream::iter(&sandboxes)
            .map(async |sandbox| {
                until_it_answers(&client, sandbox).await?;
                anyhow::Ok(began.elapsed())
            })
            .buffer_unordered(ASKERS)
            .collect::<Vec<_>>()
            .await;
        let answered = answered
            .into_iter()
            .collect::<anyhow::Result<Vec<Duration>>>()?;
        samples.first.extend(answered.iter().min());
        samples.all.extend(answered.iter().max());
        if !arguments.printed.json
            && let Some(all) = answered.iter().max()
        {
            eprintln!("restart {round}: all answer after {:.0} ms", ms(*all));
        }
    }
    Ok(samples)
}

async fn until_it_answers(client: &Client, sandbox: &Sandbox) -> anyhow::Result<()> {
    let request = ExecuteRequest {
        command: "true".to_owned(),
        timeout: Some(10),
        ..ExecuteRequest::default()
    };
    let toolbox = client.toolbox(sandbox)?;
    let deadline = Instant::now() + ANSWER_LIMIT;
    loop {
        match toolbox.execute(&request).await {
            Ok(answer) if answer.exit_code == 0 => return Ok(()),
            Ok(answer) if Instant::now() > deadline => {
                anyhow::bail!("sandbox {} answers {answer:?}", sandbox.id)
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error)
                    .with_context(|| format!("sandbox {} does not answer", sandbox.id));
            }
            Ok(_) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}
