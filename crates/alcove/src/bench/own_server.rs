//! A server that a benchmark starts for itself, with a data folder that goes with it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use alcove_client::Client;
use alcove_runner::net::Ipv4Pool;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::target::delete_all;
use crate::address::{ServerFile, read_key};

/// A first start unpacks the image.
const START_LIMIT: Duration = Duration::from_mins(5);

const STOP_LIMIT: Duration = Duration::from_mins(1);

const LOOK_PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The image of the sandboxes, an OCI archive.
    #[arg(long, env = "ALCOVE_DEFAULT_IMAGE")]
    pub image: PathBuf,
    /// Addresses for the sandboxes; must not overlap with any network of the host.
    #[arg(long, env = "ALCOVE_BENCH_NETWORK_POOL", default_value = super::NETWORK_POOL)]
    pub network_pool: Ipv4Pool,
    /// Folder in which a temporary data folder is made.
    #[arg(long, env = "ALCOVE_BENCH_SCRATCH", default_value = super::SCRATCH)]
    pub scratch: PathBuf,
}

/// Ended by [`OwnServer::close`], on every path: its sandboxes would outlive it.
#[derive(Debug)]
pub struct OwnServer {
    place: Place,
    /// What else is said to `alcove serve`.
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    /// Gone between a kill and the next start.
    child: Option<Child>,
    /// Where it listens; the first start chooses.
    address: SocketAddr,
    client: Option<Client>,
}

impl OwnServer {
    /// Starts it and waits until it listens.
    pub async fn start(place: &Place) -> anyhow::Result<Self> {
        Self::start_with(place, Vec::new()).await
    }

    /// The same with more words for `alcove serve`.
    pub async fn start_with(place: &Place, arguments: Vec<String>) -> anyhow::Result<Self> {
        let mut server = Self {
            arguments,
            folder: super::scratch_folder(&place.scratch)?,
            place: place.clone(),
            child: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            client: None,
        };
        match server.launch().await {
            Ok(()) => Ok(server),
            Err(error) => {
                let _ = server.terminate().await;
                Err(error)
            }
        }
    }

    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        fs::canonicalize(self.folder.path()).context("the data folder has gone")
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> Option<i32> {
        self.child
            .as_ref()
            .and_then(Child::id)
            .and_then(|id| i32::try_from(id).ok())
    }

    /// A client with the administrator's key.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.client.clone().context("the server has not started")
    }

    /// Starts the program on the same address and waits until it has written where it is.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        let data_dir = self.data_dir()?;
        // Of a server that was killed.
        let _ = fs::remove_file(data_dir.join("server.json"));
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .context("cannot open the server's log")?;
        let program = std::env::current_exe().context("cannot find the own program")?;
        let child = Command::new(program)
            .arg("serve")
            .arg("--data-dir")
            .arg(&data_dir)
            .args(["--listen", &self.address.to_string()])
            .args(["--s3-listen", "127.0.0.1:0"])
            .args(["--ssh-listen", "127.0.0.1:0"])
            .args(["--network-pool", &self.place.network_pool.to_string()])
            // What is made is measured, not what was made before.
            .args(["--warm-pool-memory", "0"])
            .arg("--default-image")
            .arg(&self.place.image)
            .args(&self.arguments)
            .env_remove("ALCOVE_PUBLIC_URL")
            .env_remove("ALCOVE_ADMIN_API_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is ours to handle: it must not stop the server before its sandboxes are gone.
            .process_group(0)
            .spawn()
            .context("cannot start a server")?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + START_LIMIT;
        let file = loop {
            if let Ok(file) = ServerFile::read(&data_dir) {
                break file;
            }
            if let Some(status) = child.try_wait().context("cannot watch the server")? {
                bail!(
                    "the server ended with {status}:\n{}",
                    last_lines(&self.log())
                );
            }
            if Instant::now() > deadline {
                bail!("the server does not start:\n{}", last_lines(&self.log()));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        };
        let authority = file
            .api_url
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default();
        self.address = authority
            .parse()
            .with_context(|| format!("the server says that it is at {}", file.api_url))?;
        self.client = Some(Client::new(&file.api_url, &read_key(&data_dir)?)?);
        Ok(())
    }

    /// Kills the server as a crash would. Its sandboxes keep running.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("cannot kill the server")?;
        }
        Ok(())
    }

    /// Ends it whatever came of measuring it, and tells of what failed first.
    pub async fn close_after<T>(self, measured: anyhow::Result<T>) -> anyhow::Result<T> {
        let closed = self.close().await;
        let measured = measured?;
        closed?;
        Ok(measured)
    }

    /// Deletes all sandboxes, stops the server and removes its folder. Where the server was killed, it is started
    /// once more, since nobody else knows its sandboxes.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let emptied = self.empty().await;
        let stopped = self.terminate().await;
        if emptied.is_err() || stopped.is_err() {
            let path = self.folder.keep();
            eprintln!(
                "alcove: something is left behind; `alcove serve --data-dir {}` takes it over",
                path.display()
            );
            return emptied.and(stopped);
        }
        self.folder.close().context("cannot remove the data folder")
    }

    async fn empty(&mut self) -> anyhow::Result<()> {
        if self.child.is_none() {
            self.launch().await?;
        }
        delete_all(&self.client()?, BTreeMap::new()).await
    }

    async fn terminate(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It cannot have been reaped: only `child` could do that.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, child.wait())
            .await
            .is_err()
        {
            let _ = child.kill().await;
            bail!("the server did not stop within {} s", STOP_LIMIT.as_secs());
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
