//! The operator's program that changes a DNS zone.
//!
//! `PROGRAM add NAME VALUE` adds a record of type TXT and ends well once the zone's name servers say it;
//! `PROGRAM remove NAME VALUE` takes it away again, and ends well where it is gone already.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use super::record::DnsRecord;

/// It may wait until all servers of a zone know.
const LIMIT: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub struct Hook {
    program: PathBuf,
}

/// Kills what the program started, whatever becomes of who waits for it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Hook {
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    pub async fn add(&self, record: &DnsRecord) -> anyhow::Result<()> {
        self.run("add", record).await
    }

    pub async fn remove(&self, record: &DnsRecord) -> anyhow::Result<()> {
        self.run("remove", record).await
    }

    async fn run(&self, verb: &str, record: &DnsRecord) -> anyhow::Result<()> {
        let what = || format!("{} {verb} {}", self.program.display(), record.name);
        let mut command = Command::new(&self.program);
        command
            .args([verb, &record.name, &record.value])
            .stdin(Stdio::null())
            // What it says of itself is the operator's to read, in the server's log.
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        // The server's own settings are not the program's: there are keys among them.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"ALCOVE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", what()))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = Group(pid.and_then(Pid::from_raw));
        let status = tokio::time::timeout(LIMIT, child.wait())
            .await
            .with_context(|| format!("{} did not end in time", what()))?
            .with_context(|| format!("cannot wait for {}", what()))?;
        // It was waited for, so the number may be another's by now.
        group.0 = None;
        anyhow::ensure!(status.success(), "{} failed: {status}", what());
        Ok(())
    }
}
