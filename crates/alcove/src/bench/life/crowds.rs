//! Many sandboxes: at one moment, one after the other, and at rest.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use alcove_client::Client;
use anyhow::Context;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::own_server::OwnServer;
use super::super::proc::{self, ProcessMemory};
use super::super::stats::Summary;
use super::super::target::delete_all;
use super::super::{crowd, rest};
use super::Arguments;

/// What a server does after the last request, pools and flushes, is over by then.
const SETTLE: Duration = Duration::from_secs(15);

/// Stops beside each other.
const STOPS: usize = 4;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Burst {
    pub creates: usize,
    pub failed: usize,
    pub create: Option<Summary>,
}

pub async fn burst(server: &OwnServer, creates: usize) -> anyhow::Result<Burst> {
    let client = server.client()?;
    let create = super::lasting();
    let began = Instant::now();
    let all = (0..creates).map(async |_| {
        let made = client.create(&create).await;
        (made.is_ok(), began.elapsed())
    });
    let made = join_all(all).await;
    delete_all(&client, BTreeMap::new()).await?;
    let times: Vec<Duration> = made.iter().map(|(_, time)| *time).collect();
    Ok(Burst {
        creates,
        failed: made.iter().filter(|(is_made, _)| !is_made).count(),
        create: Summary::of(&times),
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sustained {
    pub lanes: usize,
    pub per_second: f64,
    /// Since the first tenth of the time.
    pub server_grown_bytes: u64,
    /// Descriptors of server and spawner together, since then.
    pub handles_grown: i64,
}

/// `None` where it was stopped before the end.
pub async fn sustained(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Sustained>> {
    let client = server.client()?;
    let pid = server.pid().context("the server does not run")?;
    let time = Duration::from_secs(arguments.seconds);
    let warm = pairs(&client, arguments.lanes, time / 10, stop).await?;
    let first = Held::read(pid).context("the server cannot be looked at")?;
    let began = Instant::now();
    let count = pairs(&client, arguments.lanes, time, stop).await?;
    let took = began.elapsed();
    let last = Held::read(pid).context("the server cannot be looked at")?;
    delete_all(&client, BTreeMap::new()).await?;
    if stop.is_cancelled() || warm == 0 {
        return Ok(None);
    }
    Ok(Some(Sustained {
        lanes: arguments.lanes,
        per_second: f64::from(count) / took.as_secs_f64(),
        server_grown_bytes: last.bytes.saturating_sub(first.bytes),
        handles_grown: last.handles - first.handles,
    }))
}

/// Creates and deletes for so long; how many pairs came to an end.
async fn pairs(
    client: &Client,
    lanes: usize,
    time: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<u32> {
    let create = super::lasting();
    let end = Instant::now() + time;
    let lanes = (0..lanes).map(async |_| {
        let mut count = 0;
        while Instant::now() < end && !stop.is_cancelled() {
            let sandbox = client.create(&create).await.context("a create failed")?;
            let deleted = client.delete(&sandbox.id).await;
            deleted.context("a delete failed")?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    join_all(lanes).await.into_iter().sum()
}

/// What a server holds.
struct Held {
    bytes: u64,
    handles: i64,
}

impl Held {
    fn read(pid: i32) -> Option<Self> {
        let spawner = proc::child_named(pid, "alcove-spawner")?;
        Some(Self {
            bytes: ProcessMemory::read(pid)?.private_bytes,
            handles: handles(pid)? + handles(spawner)?,
        })
    }
}

fn handles(pid: i32) -> Option<i64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    i64::try_from(open.count()).ok()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    pub sandboxes: usize,
    pub resident_bytes: u64,
    /// Of one core.
    pub processor_percent: f64,
}

/// `None` where it was stopped before the end.
pub async fn stopped(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Stopped>> {
    let client = server.client()?;
    let pid = server.pid().context("the server does not run")?;
    let sandboxes = crowd::make(&client, arguments.stopped, stop).await?;
    let stops = stream::iter(&sandboxes)
        .map(async |sandbox| client.stop(&sandbox.id, true).await.map(drop))
        .buffer_unordered(STOPS)
        .collect::<Vec<_>>()
        .await;
    stops
        .into_iter()
        .collect::<Result<(), _>>()
        .context("a stop failed")?;
    rest(SETTLE, stop).await;
    let time = Duration::from_secs(arguments.seconds);
    let before = proc::processor_time(pid).context("the server cannot be looked at")?;
    rest(time, stop).await;
    let after = proc::processor_time(pid).context("the server cannot be looked at")?;
    let memory = ProcessMemory::read(pid).context("the server cannot be looked at")?;
    delete_all(&client, BTreeMap::new()).await?;
    Ok((!stop.is_cancelled()).then(|| Stopped {
        sandboxes: sandboxes.len(),
        resident_bytes: memory.resident_bytes,
        processor_percent: 100.0 * after.saturating_sub(before).as_secs_f64() / time.as_secs_f64(),
    }))
}
