//! The sandbox that is measured, and its agent as a process of this host.

use std::fs::File;

use alcove_api_types::daytona::{CreateSandbox, Sandbox};
use alcove_client::{Client, Toolbox};
use alcove_runner::journal::{Journal, Phase};
use alcove_runner::socket_path;
use anyhow::{Context, bail};
use tokio::net::UnixStream;

use super::super::own_server::OwnServer;
use super::super::proc::{self, ProcessMemory};

/// One sandbox on a server of one's own.
pub struct Subject {
    pub sandbox: Sandbox,
    pub toolbox: Toolbox,
    pub client: Client,
    pub agent: Agent,
    pub server_pid: i32,
}

/// The agent, past the server.
pub struct Agent {
    pub pid: i32,
    pub token: String,
    /// Sockets are reached through it, since their full paths may be too long.
    sockets: File,
    name: String,
}

impl Subject {
    pub async fn make(server: &OwnServer) -> anyhow::Result<Self> {
        Self::make_with(server, CreateSandbox::default()).await
    }

    /// Makes what is asked for, which does not stop by itself.
    pub async fn make_with(server: &OwnServer, create: CreateSandbox) -> anyhow::Result<Self> {
        let client = server.client()?;
        let create = CreateSandbox {
            auto_stop_interval: Some(0),
            ..create
        };
        let sandbox = client.create(&create).await.context("the create failed")?;
        let runner = server.data_dir()?.join("runner");
        let record = Journal::look_up(&runner.join("journal"), &sandbox.id.parse()?)
            .context("cannot look the sandbox up in the runner's journal")?;
        let Phase::Running(running) = record.phase else {
            bail!("the runner does not say that the sandbox runs");
        };
        let sockets = server.data_dir()?.join("run");
        let agent = Agent {
            pid: running.process.pid,
            token: running.token,
            sockets: File::open(&sockets)
                .with_context(|| format!("cannot open {}", sockets.display()))?,
            name: sandbox.id.clone(),
        };
        Ok(Self {
            toolbox: client.toolbox(&sandbox)?,
            client,
            sandbox,
            agent,
            server_pid: server.pid().context("the server does not run")?,
        })
    }

    /// Begins to watch how far server and agent grow.
    pub fn watch_growth(&self) -> anyhow::Result<GrowthWatch> {
        let begin = |pid| {
            proc::reset_peak(pid)?;
            let memory = ProcessMemory::read(pid).context("the process has gone")?;
            anyhow::Ok((pid, memory.resident_bytes))
        };
        Ok(GrowthWatch {
            server: begin(self.server_pid).context("cannot watch the server's memory")?,
            agent: begin(self.agent.pid).context("cannot watch the agent's memory")?,
        })
    }
}

impl Agent {
    pub async fn connect(&self) -> anyhow::Result<UnixStream> {
        let path = socket_path(&self.sockets, &self.name);
        UnixStream::connect(path)
            .await
            .context("cannot connect to the agent")
    }
}

/// Server and agent, each with what it held at the beginning.
pub struct GrowthWatch {
    server: (i32, u64),
    agent: (i32, u64),
}

/// By how many bytes each grew at most, of resident memory.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    pub server_bytes: u64,
    pub agent_bytes: u64,
}

impl GrowthWatch {
    pub fn end(self) -> anyhow::Result<Growth> {
        let grown = |(pid, before): (i32, u64)| {
            let peak = proc::peak_bytes(pid).context("the process has gone")?;
            anyhow::Ok(peak.saturating_sub(before))
        };
        Ok(Growth {
            server_bytes: grown(self.server)?,
            agent_bytes: grown(self.agent)?,
        })
    }
}

impl Growth {
    /// The worse of each.
    pub fn or(self, other: Self) -> Self {
        Self {
            server_bytes: self.server_bytes.max(other.server_bytes),
            agent_bytes: self.agent_bytes.max(other.agent_bytes),
        }
    }
}
