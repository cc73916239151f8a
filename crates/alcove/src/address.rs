//! Which server a command is about.

use std::fs;
use std::path::{Path, PathBuf};

use alcove_client::Client;
use anyhow::{Context, bail};
use serde::Deserialize;

use crate::credentials::{Credentials, CredentialsArguments};

#[derive(Debug, clap::Args)]
pub struct Address {
    /// Address of the API, such as http://127.0.0.1:3000/api.
    #[arg(long, env = "DAYTONA_API_URL")]
    url: Option<String>,
    /// Key for that address; the one that `alcove login` got where it is not given.
    #[arg(long, env = "DAYTONA_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Data folder of a server on this host: address, key and process are read from it. It goes before --url.
    #[arg(long, env = "ALCOVE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    credentials: CredentialsArguments,
}

impl Address {
    /// A client of the server, and the server's process where it is known and runs on this host.
    pub fn client(&self) -> anyhow::Result<(Client, Option<i32>)> {
        match (&self.data_dir, &self.url, &self.key) {
            (None, Some(url), Some(key)) => Ok((Client::new(url, key)?, None)),
            (None, Some(url), None) => {
                let kept = Credentials::read(&self.credentials.path()?)?;
                match kept.of(url) {
                    Some(login) => Ok((Client::new(url, &login.key)?, None)),
                    None => bail!(
                        "--url needs --key, or DAYTONA_API_KEY, or `alcove login --url {url}`"
                    ),
                }
            }
            (None, None, None) if !is_served_here() => {
                let kept = Credentials::read(&self.credentials.path()?)?;
                match kept.current() {
                    Some((url, login)) => Ok((Client::new(url, &login.key)?, None)),
                    None => bail!(
                        "no server runs on this host; give --url and --key, or use `alcove login`"
                    ),
                }
            }
            (data_dir, ..) => {
                let data_dir = data_dir
                    .as_deref()
                    .unwrap_or(Path::new(crate::serve::DATA_DIR));
                let ServerFile { api_url, pid } = ServerFile::read(data_dir)?;
                let key = read_key(data_dir)?;
                Ok((Client::new(&api_url, &key)?, Some(pid)))
            }
        }
    }
}

/// Whether a server runs on the folder that it takes where none is named.
fn is_served_here() -> bool {
    Path::new(crate::serve::DATA_DIR)
        .join("server.json")
        .exists()
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
