//! A full sandbox, forked and snapshotted.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use alcove_agent_api::ExecuteRequest;
use alcove_api_types::daytona::{Sandbox, SandboxState};
use alcove_client::Client;
use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::own_server::OwnServer;
use super::super::stats::Summary;
use super::Arguments;

/// Filling a sandbox, or a snapshot that is made.
const LIMIT: Duration = Duration::from_mins(5);

const LOOK_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copies {
    pub size_mib: u64,
    pub files: u64,
    /// Until the fork was answered.
    pub fork: Option<Summary>,
    /// Until the snapshot could be used.
    pub snapshot: Option<Summary>,
    /// A file of as many bytes, written and synced where the data folder is.
    pub floor: Option<Summary>,
    /// The same file copied and synced, one piece after the other. What is copied is not in memory.
    pub copied_file: Option<Summary>,
}

#[derive(Debug, Default)]
struct Samples {
    fork: Vec<Duration>,
    snapshot: Vec<Duration>,
    floor: Vec<Duration>,
    copied_file: Vec<Duration>,
}

pub async fn measure(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Copies> {
    let client = server.client()?.with_timeout(Some(LIMIT));
    let create = client.create(&super::lasting()).await;
    let sandbox = create.context("a create failed")?;
    let mut samples = Samples::default();
    let measured = async {
        fill(&client, &sandbox, arguments).await?;
        for number in 0..arguments.copies {
            if stop.is_cancelled() {
                break;
            }
            round(server, &client, &sandbox, arguments, number, &mut samples).await?;
        }
        anyhow::Ok(())
    };
    let measured = measured.await;
    let deleted = client.delete(&sandbox.id).await;
    measured?;
    deleted.context("a delete failed")?;
    Ok(Copies {
        size_mib: arguments.size_mib,
        files: arguments.files,
        fork: Summary::of(&samples.fork),
        snapshot: Summary::of(&samples.snapshot),
        floor: Summary::of(&samples.floor),
        copied_file: Summary::of(&samples.copied_file),
    })
}

async fn fill(client: &Client, sandbox: &Sandbox, arguments: &Arguments) -> anyhow::Result<()> {
    let (bytes, files) = (arguments.size_mib << 20, arguments.files);
    let each = bytes.div_ceil(files);
    // Bytes that nothing makes smaller. A tiny image has no split.
    let command = format!(
        "cd && mkdir full && cd full || exit; \
         if command -v split >/dev/null; then head -c {bytes} /dev/urandom | split -a 6 -b {each} -; else \
         i=0; while [ $i -lt {files} ]; do head -c {each} /dev/urandom >$i || exit; i=$((i+1)); done; fi; sync ."
    );
    let request = ExecuteRequest {
        command: format!("sh -c '{command}'"),
        timeout: Some(LIMIT.as_secs()),
        ..ExecuteRequest::default()
    };
    let answer = client.toolbox(sandbox)?.execute(&request).await;
    let answer = answer.context("the sandbox cannot be filled")?;
    ensure!(answer.exit_code == 0, "filling it answered {answer:?}");
    Ok(())
}

async fn round(
    server: &OwnServer,
    client: &Client,
    sandbox: &Sandbox,
    arguments: &Arguments,
    number: usize,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let fork = client.fork(&sandbox.id, &format!("fork-{number}")).await;
    let fork = fork.context("a fork failed")?;
    samples.fork.push(began.elapsed());
    ensure!(
        fork.state == Some(SandboxState::Started),
        "a fork answered {fork:?}"
    );
    client.delete(&fork.id).await.context("a delete failed")?;

    let name = format!("snapshot-{number}");
    let began = Instant::now();
    let asked = client.snapshot(&sandbox.id, &name).await;
    asked.context("a snapshot failed")?;
    until_active(client, &name).await?;
    samples.snapshot.push(began.elapsed());

    let folder = server.data_dir()?;
    let size = arguments.size_mib;
    let floor = tokio::task::spawn_blocking(move || floor(&folder, size));
    let (written, copied) = floor.await?.context("no room")?;
    samples.floor.push(written);
    samples.copied_file.push(copied);
    Ok(())
}

/// How long the host takes to write a file of this size, and to copy it.
fn floor(folder: &Path, size_mib: u64) -> std::io::Result<(Duration, Duration)> {
    let (path, copy) = (folder.join("floor"), folder.join("floor-copy"));
    let piece = vec![0x5a; 1 << 20];
    let began = Instant::now();
    let mut file = fs::File::create(&path)?;
    for _ in 0..size_mib {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let written = began.elapsed();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;

    let began = Instant::now();
    let mut from = fs::File::open(&path)?;
    let mut to = fs::File::create(&copy)?;
    std::io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    let copied = began.elapsed();
    fs::remove_file(&path)?;
    fs::remove_file(&copy)?;
    Ok((written, copied))
}

async fn until_active(client: &Client, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let page = client.snapshots().await.context("no list of snapshots")?;
        let found = page.items.iter().find(|snapshot| snapshot.name == name);
        match found.map(|snapshot| snapshot.state.as_str()) {
            Some("active") => return Ok(()),
            Some("error") => bail!("snapshot {name} failed: {found:?}"),
            _ if Instant::now() > deadline => bail!("snapshot {name} does not come: {found:?}"),
            _ => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}
