//! The agent at rest.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::proc::{ProcessMemory, ProcessTasks};
use super::super::rest;
use super::subject::Subject;

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quiet {
    pub resident_bytes: u64,
    pub threads: usize,
    pub wake_ups_per_second: f64,
}

/// Looks twice, so many seconds apart. `None` where it was stopped meanwhile.
pub async fn measure(
    subject: &Subject,
    seconds: u64,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Quiet>> {
    let look = || ProcessTasks::read(subject.agent.pid).context("the agent has gone");
    // What the create set going comes to rest first.
    rest(Duration::from_secs(1), stop).await;
    let before = look()?;
    let began = Instant::now();
    rest(Duration::from_secs(seconds), stop).await;
    let elapsed = began.elapsed();
    let after = look()?;
    if stop.is_cancelled() {
        return Ok(None);
    }
    let memory = ProcessMemory::read(subject.agent.pid).context("the agent has gone")?;
    let switches = u32::try_from(after.switches.saturating_sub(before.switches))?;
    Ok(Some(Quiet {
        resident_bytes: memory.resident_bytes,
        threads: after.threads,
        wake_ups_per_second: f64::from(switches) / elapsed.as_secs_f64(),
    }))
}
