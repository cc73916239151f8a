//! `alcove runner`: keeps sandboxes for a server, in a process of its own.
//!
//! It comes to the server with its key and is given orders over that one connection. When the connection breaks, sandboxes run
//! on, and it comes again; when the process ends, they run on too, and the next one takes them over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alcove_control::RunnerClient;
use alcove_runner_link::PROTOCOL;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::rt::TokioIo;
use tower::Service as _;
use uuid::Uuid;

use crate::host::{self, HostArguments};
use crate::kill::KillAt;
use crate::local_runner::LocalRunner;
use crate::registries::Registries;
use crate::{images, memory, parts, serve};

/// How long the server may take to let it in.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between one try and the next: longer each time that it fails.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What a refusal may say.
const REFUSAL_MAX: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The runner's key, as `POST /api/runners` answered it.
    #[arg(
        long,
        env = "ALCOVE_RUNNER_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    join: String,
    /// Where the server is.
    #[arg(
        long,
        env = "ALCOVE_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:3000"
    )]
    server: Uri,
    /// The one folder for all data of the runner; not the server's.
    #[arg(
        long,
        env = "ALCOVE_RUNNER_DATA_DIR",
        default_value = "/var/lib/alcove-runner"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    host: HostArguments,
    /// Log lines as JSON.
    #[arg(long, env = "ALCOVE_LOG_JSON")]
    log_json: bool,
}

/// Why the server does not let it in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// It will not do so later either.
    #[error("the server does not take this runner: {0}")]
    ForGood(String),
    #[error(transparent)]
    ForNow(#[from] anyhow::Error),
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    serve::log::start(arguments.log_json, None);
    let way = Way::to(&arguments.server, &arguments.join)?;
    serve::start_blocking_threads().await?;
    let data_dir = host::open_data_dir(&arguments.data_dir)?;
    if data_dir.join("alcove.db").exists() {
        bail!(
            "{} is the data folder of a server; a runner needs one of its own",
            data_dir.display()
        );
    }
    let instance = instance_of(&data_dir)?;
    let programs = parts::unpack(&data_dir)?;
    let capabilities =
        host::refuse_unfit(&data_dir, arguments.host.network_pool, &programs).await?;
    let Registries { settings, .. } = arguments.host.registries()?;
    let config = arguments
        .host
        .runner_config(&data_dir, &programs, settings)?;
    let runner = host::open_runner(config, KillAt::wanted()?).await?;
    let named = arguments.host.named_images();
    let result = match images::import(&runner, &data_dir, named).await {
        Ok(()) => {
            let host: Arc<dyn RunnerClient> =
                Arc::new(LocalRunner::new(runner.clone(), capabilities));
            stay(&way, &instance, host).await
        }
        Err(error) => Err(error),
    };
    // On every way out: what is pooled goes, what runs stays.
    let running = runner.running_count();
    runner.close().await;
    if result.is_ok() && running > 0 {
        eprintln!("alcove: {running} sandboxes keep running; the next start takes them over");
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Comes to the server again and again, until it is told to stop.
async fn stay(way: &Way, instance: &str, host: Arc<dyn RunnerClient>) -> anyhow::Result<()> {
    let stop = serve::stop_signal()?;
    // It ends with the same signal.
    tokio::spawn(memory::keep_small(stop.clone()));
    let mut wait = RETRY_FIRST;
    loop {
        let joined = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            joined = tokio::time::timeout(PATIENCE, way.join(instance)) => joined,
        };
        match joined.unwrap_or_else(|_| Err(anyhow::anyhow!("it does not answer").into())) {
            Ok(link) => {
                wait = RETRY_FIRST;
                tracing::info!("this runner has joined {}", way.server);
                let serving = alcove_runner_link::serve(TokioIo::new(link), Arc::clone(&host));
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    ended = serving => match ended {
                        Ok(()) => tracing::warn!("the server has ended the link"),
                        Err(error) => tracing::warn!(%error, "the link broke off"),
                    },
                }
            }
            Err(Refusal::ForGood(reason)) => bail!(Refusal::ForGood(reason)),
            Err(Refusal::ForNow(error)) => {
                tracing::warn!("cannot join {}: {error:#}", way.server);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// The way to the server.
struct Way {
    server: Uri,
    link: Uri,
    key: String,
}

impl Way {
    fn to(server: &Uri, key: &str) -> anyhow::Result<Self> {
        let scheme = server.scheme_str().unwrap_or_default();
        let Some(authority) = server
            .authority()
            .filter(|_| matches!(scheme, "http" | "https"))
        else {
            bail!("--server must be a URL of http or https, such as http://127.0.0.1:3000");
        };
        let path = server.path().trim_end_matches('/').trim_end_matches("/api");
        let link = Uri::builder()
            .scheme(scheme)
            .authority(authority.clone())
            .path_and_query(format!("{path}/api/runners/me/link"))
            .build()
            .context("--server is no address")?;
        Ok(Self {
            server: server.clone(),
            link,
            key: key.to_owned(),
        })
    }

    async fn join(&self, instance: &str) -> Result<Upgraded, Refusal> {
        let mut connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .context("cannot read the host's certificates")?
            .https_or_http()
            .enable_http1()
            .build();
        let stream = connector.call(self.link.clone()).await;
        let stream = stream.map_err(|error| anyhow::anyhow!("cannot reach it: {error}"))?;
        let handshake = http1::handshake(stream).await;
        let (mut sender, connection) = handshake.context("it does not speak HTTP")?;
        tokio::spawn(connection.with_upgrades());
        let authority = self
            .link
            .authority()
            .map_or("", |authority| authority.as_str());
        let request = Request::get(self.link.path())
            .header(HOST, authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, PROTOCOL)
            .header("X-Alcove-Instance", instance)
            .body(Empty::<Bytes>::new())
            .context("the key has characters that no header can have")?;
        let response = sender.send_request(request).await;
        let response = response.context("it does not answer")?;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(response).await;
            return Ok(upgraded.context("the link did not come about")?);
        }
        let body = Limited::new(response.into_body(), REFUSAL_MAX);
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let reason = body.ok().and_then(|text| reason_of(&text));
        let reason = reason.unwrap_or_else(|| format!("status {status}"));
        match status {
            // 409 too: whoever mixed up two data folders must decide.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT
            | StatusCode::BAD_REQUEST
            | StatusCode::UPGRADE_REQUIRED => Err(Refusal::ForGood(reason)),
            _ => Err(anyhow::anyhow!(reason).into()),
        }
    }
}

fn reason_of(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("message")?.as_str()?.to_owned())
}

/// The word by which the server knows this data folder.
fn instance_of(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let word = Uuid::new_v4().to_string();
            let draft = path.with_extension("draft");
            fs::write(&draft, &word)
                .and_then(|()| fs::File::open(&draft)?.sync_all())
                .and_then(|()| fs::rename(&draft, &path))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(word)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn link(server: &str) -> anyhow::Result<String> {
        Way::to(&server.parse()?, "rnr_x").map(|way| way.link.to_string())
    }

    #[test]
    fn the_server_may_be_named_with_the_path_of_its_api_and_without() {
        let expected = "http://127.0.0.1:3000/api/runners/me/link";
        for server in [
            "http://127.0.0.1:3000",
            "http://127.0.0.1:3000/",
            "http://127.0.0.1:3000/api",
            "http://127.0.0.1:3000/api/",
        ] {
            assert_eq!(link(server).unwrap(), expected);
        }
        assert_eq!(
            link("https://a.example/b").unwrap(),
            "https://a.example/b/api/runners/me/link"
        );
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        assert!(link("ftp://127.0.0.1").is_err());
        assert!(link("127.0.0.1:3000").is_err());
    }

    #[test]
    fn a_data_folder_keeps_its_word() {
        let folder = tempfile::tempdir().unwrap();
        let word = instance_of(folder.path()).unwrap();
        assert_eq!(instance_of(folder.path()).unwrap(), word);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(instance_of(other.path()).unwrap(), word);
    }
}
