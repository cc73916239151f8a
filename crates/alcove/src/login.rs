//! `alcove login` and `alcove logout`: a key of a person, approved in a browser.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use alcove_api_types::daytona::{DeviceAuthorization, DeviceRefusalBody, DeviceToken};
use alcove_client::Client;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::credentials::{Credentials, CredentialsArguments, Login, plain};

const DEFAULT_URL: &str = "http://127.0.0.1:3000/api";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What the standard has programs wait longer where they asked too often.
const SLOWER: Duration = Duration::from_secs(5);
/// A server that does not answer within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Address of the API.
    #[arg(long, env = "DAYTONA_API_URL", default_value = DEFAULT_URL)]
    url: String,
    #[command(flatten)]
    credentials: CredentialsArguments,
}

#[derive(Debug, clap::Args)]
pub struct LogoutArguments {
    /// Address of the API; the one that was logged in to last where it is not given.
    #[arg(long, env = "DAYTONA_API_URL")]
    url: Option<String>,
    #[command(flatten)]
    credentials: CredentialsArguments,
}

/// Shows a code, waits until somebody has approved it, and keeps the key.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let path = arguments.credentials.path()?;
    // Before anybody is asked for anything.
    Credentials::read(&path)?;
    let client = Client::new(&arguments.url, "")?;
    let body = json!({"client_id": "alcove", "device_name": host_name()});
    let begun: DeviceAuthorization = match ask(&client, "/api/auth/device/code", &body).await? {
        Ok(begun) => begun,
        Err(refused) => bail!("the server refuses: {}", refused.error_description),
    };
    say(&format!(
        "Open {} in a browser, sign in, and let this program in with the code\n\n    {}\n",
        begun.verification_uri, begun.user_code
    ))?;
    let made = wait(&client, &begun).await?;
    let mut credentials = Credentials::read(&path)?;
    let url = plain(&arguments.url).to_owned();
    let login = Login {
        key: made.access_token,
        name: made.key_name.clone(),
    };
    credentials.servers.insert(url.clone(), login);
    credentials.current = Some(url);
    credentials.write(&path)?;
    say(&format!(
        "Logged in. The key {} is in {}.",
        made.key_name,
        path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks for the key as often as the server wants to be asked.
async fn wait(client: &Client, begun: &DeviceAuthorization) -> anyhow::Result<DeviceToken> {
    let body =
        json!({"grant_type": GRANT, "device_code": begun.device_code, "client_id": "alcove"});
    let mut interval = Duration::from_secs(begun.interval);
    loop {
        tokio::time::sleep(interval).await;
        let refused = match ask(client, "/api/auth/device/token", &body).await? {
            Ok(made) => return Ok(made),
            Err(refused) => refused,
        };
        match refused.error.as_str() {
            "authorization_pending" => {}
            "slow_down" => interval += SLOWER,
            "access_denied" => bail!("it was refused"),
            "expired_token" => bail!("nobody approved it in time; try again"),
            _ => bail!("the server refuses: {}", refused.error_description),
        }
    }
}

/// Ends the key at the server, and forgets it.
pub async fn logout(arguments: LogoutArguments) -> anyhow::Result<ExitCode> {
    let path = arguments.credentials.path()?;
    let mut credentials = Credentials::read(&path)?;
    let url = match (&arguments.url, credentials.current()) {
        (Some(url), _) => plain(url).to_owned(),
        (None, Some((url, _))) => url.to_owned(),
        (None, None) => bail!("nobody is logged in"),
    };
    let Some(login) = credentials.servers.remove(&url) else {
        bail!("nobody is logged in to {url}");
    };
    credentials.current.take_if(|current| *current == url);
    credentials.write(&path)?;
    let ended = end(&url, &login).await;
    ended.with_context(|| {
        format!(
            "the key is forgotten here, and could not be ended at the server; end {} there",
            login.name
        )
    })?;
    say(&format!("Logged out of {url}."))?;
    Ok(ExitCode::SUCCESS)
}

async fn end(url: &str, login: &Login) -> anyhow::Result<()> {
    let client = Client::new(url, &login.key)?;
    let request = Request::builder()
        .method(Method::DELETE)
        .uri(format!("/api/api-keys/{}", login.name))
        .body(Full::new(Bytes::new()))?;
    let answer = tokio::time::timeout(ANSWER_LIMIT, client.pass(request)).await??;
    match answer.status() {
        // The second where it was ended before.
        StatusCode::NO_CONTENT | StatusCode::UNAUTHORIZED => Ok(()),
        status => bail!("the answer was {status}"),
    }
}

/// The answer, or a refusal in the words of OAuth.
async fn ask<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &serde_json::Value,
) -> anyhow::Result<Result<T, DeviceRefusalBody>> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let exchange = async {
        let answer = client.pass(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, body))
    };
    let (status, body) = tokio::time::timeout(ANSWER_LIMIT, exchange)
        .await
        .context("the server does not answer")??;
    if status.is_success() {
        return Ok(Ok(serde_json::from_slice(&body)?));
    }
    if status == StatusCode::BAD_REQUEST
        && let Ok(refused) = serde_json::from_slice(&body)
    {
        return Ok(Err(refused));
    }
    bail!("the answer was {status}")
}

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write the output")
}
