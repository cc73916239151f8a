//! Idle SSH sessions, each a terminal of OpenSSH's client, and what the server holds for each.

use std::process::Stdio;
use std::time::Duration;

use alcove_api_types::daytona::SshAccess;
use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::super::proc::ProcessMemory;
use super::super::toolbox::subject::Subject;

/// A login takes the client's and the server's key exchange.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// Said once the terminal is there; then nothing is, until the client goes.
const SESSION: &str = "echo ready; exec cat";

/// Bytes of the server's memory for each of so many sessions, shared by two sandboxes. None where there is no client, or
/// where it was stopped.
pub async fn measure(
    subjects: [&Subject; 2],
    count: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Option<f64>> {
    let mut accesses = Vec::new();
    for subject in subjects {
        let access = subject.client.create_ssh_access(&subject.sandbox.id).await;
        accesses.push(access.context("cannot have a token for SSH")?);
    }
    let server = subjects[0].server_pid;
    let resident = || {
        let memory = ProcessMemory::read(server).context("the server has gone")?;
        anyhow::Ok(memory.resident_bytes)
    };
    // What the first ones bring up is the server's, not theirs.
    let mut open_ones = Vec::with_capacity(count);
    for access in &accesses {
        let Some(session) = open(access).await? else {
            return Ok(None);
        };
        open_ones.push(session);
    }
    let (first, before) = (open_ones.len(), resident()?);
    for number in 0..count - first {
        if stop.is_cancelled() {
            return Ok(None);
        }
        open_ones.extend(open(&accesses[number % 2]).await?);
    }
    let grown = resident()?.saturating_sub(before);
    for session in &mut open_ones {
        ensure!(
            session.try_wait()?.is_none(),
            "an SSH session has ended by itself"
        );
    }
    let more = f64::from(u32::try_from(open_ones.len() - first)?.max(1));
    Ok(Some(f64::from(u32::try_from(grown >> 10)?) * 1024.0 / more))
}

/// None where there is no client. It ends with its drop.
async fn open(access: &SshAccess) -> anyhow::Result<Option<Child>> {
    let words: Vec<&str> = access.ssh_command.split(' ').collect();
    let ["ssh", "-p", port, login] = words[..] else {
        bail!("the server names no command of SSH: {}", access.ssh_command);
    };
    let started = Command::new("ssh")
        // Nothing of the machine's own configuration, and no question to anybody.
        .args(["-F", "/dev/null", "-tt", "-e", "none", "-p", port])
        .args([
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oGlobalKnownHostsFile=/dev/null",
            "-oIdentityFile=/dev/null",
            "-oIdentityAgent=none",
            "-oLogLevel=ERROR",
        ])
        .args([login, SESSION])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C is ours to handle.
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot start ssh"),
    };
    let said = child.stdout.as_mut().context("ssh has no output")?;
    let mut line = String::new();
    let mut said = BufReader::new(said);
    let read = tokio::time::timeout(OPEN_WITHIN, said.read_line(&mut line)).await;
    read.context("an SSH session does not open")??;
    ensure!(line.trim_end() == "ready", "an SSH session says {line:?}");
    Ok(Some(child))
}
