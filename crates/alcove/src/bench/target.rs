//! The server that is measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alcove_client::{Client, ListFilter};
use anyhow::{Context, bail};
use serde::Deserialize;

use super::proc::ProcessMemory;

/// How long sandboxes may take to be gone from the lists.
const GONE_LIMIT: Duration = Duration::from_mins(1);

/// Pause between two looks at a list that gets shorter.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub struct Address {
    /// Address of the API, such as http://127.0.0.1:3000/api.
    #[arg(long, env = "DAYTONA_API_URL")]
    url: Option<String>,
    /// Key for that address.
    #[arg(long, env = "DAYTONA_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Data folder of a server on this host: address, key and process are read from it. It goes before --url.
    #[arg(long, env = "ALCOVE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// A server that answers, and its process where it runs on this host.
#[derive(Debug)]
pub struct Target {
    pub client: Client,
    pub pid: Option<i32>,
}

/// What a server writes into its data folder for scripts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerFile {
    pub api_url: String,
    pub pid: i32,
}

impl ServerFile {
    pub fn read(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join("server.json");
        let text = fs::read(&path)
            .with_context(|| format!("no server runs on this data folder: {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))
    }
}

pub fn read_key(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("admin.key");
    let key = fs::read_to_string(&path)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    Ok(key.trim().to_owned())
}

impl Target {
    pub async fn find(arguments: &Address) -> anyhow::Result<Self> {
        let target = match (&arguments.data_dir, &arguments.url, &arguments.key) {
            (None, Some(url), Some(key)) => Self {
                client: Client::new(url, key)?,
                pid: None,
            },
            (None, Some(_), None) => bail!("--url needs --key, or DAYTONA_API_KEY"),
            (data_dir, ..) => {
                let data_dir = data_dir
                    .as_deref()
                    .unwrap_or(Path::new(crate::serve::DATA_DIR));
                let ServerFile { api_url, pid } = ServerFile::read(data_dir)?;
                let key = read_key(data_dir)?;
                Self {
                    client: Client::new(&api_url, &key)?,
                    pid: Some(pid),
                }
            }
        };
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
