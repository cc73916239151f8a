//! The server that is measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alcove_client::{Client, ListFilter};
use anyhow::{Context, bail};

use super::proc::ProcessMemory;
use crate::address::Address;

/// How long sandboxes may take to be gone from the lists.
const GONE_LIMIT: Duration = Duration::from_mins(1);

/// Pause between two looks at a list that gets shorter.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A server that answers, and its process where it runs on this host.
#[derive(Debug)]
pub struct Target {
    pub client: Client,
    pub pid: Option<i32>,
}

impl Target {
    pub async fn find(arguments: &Address) -> anyhow::Result<Self> {
        let (client, pid) = arguments.client()?;
        let target = Self { client, pid };
        target
            .client
            .readiness()
            .await
            .context("the server is not ready")?;
        Ok(target)
    }

    /// Resident memory of the server, where it is known and runs here.
    pub fn resident_bytes(&self) -> Option<u64> {
        Some(ProcessMemory::read(self.pid?)?.resident_bytes)
    }
}

/// Deletes all sandboxes with these labels and waits until none is listed any more.
pub async fn delete_all(client: &Client, labels: BTreeMap<String, String>) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE_LIMIT;
    let filter = ListFilter {
        labels,
        states: Vec::new(),
    };
    loop {
        let left = client
            .list(&filter)
            .await
            .context("cannot list what is left")?;
        if left.is_empty() {
            return Ok(());
        }
        let mut last = None;
        for sandbox in &left {
            // One that is on its way out may refuse; the next look tells whether it went.
            last = client.delete(&sandbox.id).await.err().or(last);
        }
        if Instant::now() > deadline {
            let reason = last.map_or_else(String::new, |error| format!(": {error}"));
            bail!("{} sandboxes do not go{reason}", left.len());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
