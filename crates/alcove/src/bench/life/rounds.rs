//! One sandbox, stopped and started again and again.

use std::time::{Duration, Instant};

use alcove_agent_api::ExecuteRequest;
use alcove_api_types::daytona::{Sandbox, SandboxState};
use alcove_client::Client;
use anyhow::{Context, ensure};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::own_server::OwnServer;
use super::super::stats::Summary;
use super::super::{ECHO_COMMAND, ECHO_OUTPUT, WARM_UP};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rounds {
    pub stop: Option<Summary>,
    /// Until the start was answered.
    pub start: Option<Summary>,
    /// From the start until the output of a first command was read.
    pub first_output: Option<Summary>,
}

#[derive(Debug, Default)]
struct Samples {
    stop: Vec<Duration>,
    start: Vec<Duration>,
    first_output: Vec<Duration>,
}

pub async fn measure(
    server: &OwnServer,
    rounds: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Rounds> {
    let client = server.client()?;
    let create = client.create(&super::lasting()).await;
    let sandbox = create.context("a create failed")?;
    let mut samples = Samples::default();
    let mut measured = Ok(());
    for number in 0..WARM_UP + rounds {
        if stop.is_cancelled() {
            break;
        }
        if number == WARM_UP {
            samples = Samples::default();
        }
        measured = round(&client, &sandbox, &mut samples).await;
        if measured.is_err() {
            break;
        }
    }
    let deleted = client.delete(&sandbox.id).await;
    measured?;
    deleted.context("a delete failed")?;
    Ok(Rounds {
        stop: Summary::of(&samples.stop),
        start: Summary::of(&samples.start),
        first_output: Summary::of(&samples.first_output),
    })
}

async fn round(client: &Client, sandbox: &Sandbox, samples: &mut Samples) -> anyhow::Result<()> {
    let began = Instant::now();
    let stopped = client.stop(&sandbox.id, false).await;
    let stopped = stopped.context("a stop failed")?;
    samples.stop.push(began.elapsed());
    ensure!(
        stopped.state == Some(SandboxState::Stopped),
        "a stop answered {stopped:?}"
    );
    let began = Instant::now();
    let started = client.start(&sandbox.id).await.context("a start failed")?;
    samples.start.push(began.elapsed());
    ensure!(
        started.state == Some(SandboxState::Started),
        "a start answered {started:?}"
    );
    let echo = ExecuteRequest {
        command: ECHO_COMMAND.to_owned(),
        timeout: Some(10),
        ..ExecuteRequest::default()
    };
    let answer = client.toolbox(sandbox)?.execute(&echo).await;
    let answer = answer.context("the first execute failed")?;
    samples.first_output.push(began.elapsed());
    ensure!(answer.result == ECHO_OUTPUT, "it answered {answer:?}");
    Ok(())
}
