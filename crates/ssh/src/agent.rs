//! Connections to a sandbox's agent that carry something other than HTTP.

use std::io;
use std::time::Duration;

use alcove_agent_api::AGENT_TOKEN_HEADER;
use alcove_control::{Control, DialError};
use alcove_domain::SandboxId;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

/// An agent answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection. The texts are for whoever is logged in.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the sandbox cannot be reached: {0}")]
    Dial(#[source] DialError),
    #[error("the sandbox was started by an older release, without SSH; stop and start it once")]
    TooOld,
    #[error("the sandbox does not answer")]
    NoAnswer,
    #[error("the sandbox does not answer as it should")]
    Protocol(#[source] hyper::Error),
    #[error("the connection to the sandbox was lost")]
    Lost(#[source] io::Error),
}

/// Connects, and asks for the connection to become what is behind this path.
pub async fn connect(
    control: &Control,
    sandbox: &SandboxId,
    path: &'static str,
    protocol: &'static str,
) -> Result<TokioIo<Upgraded>, AgentError> {
    let connected = timeout(PATIENCE, async {
        let agent = control.dial_agent(sandbox).await;
        let agent = agent.map_err(AgentError::Dial)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(agent.stream))
            .await
            .map_err(AgentError::Protocol)?;
        // Ends with the upgrade, or with the sender.
        tokio::spawn(connection.with_upgrades());
        let request = Request::get(path)
            .header(HOST, "agent")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, protocol)
            .header(AGENT_TOKEN_HEADER, agent.token)
            .body(Empty::<Bytes>::new())
            .map_err(|_| AgentError::NoAnswer)?;
        let response = sender.send_request(request).await;
        let response = response.map_err(AgentError::Protocol)?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => hyper::upgrade::on(response)
                .await
                .map(TokioIo::new)
                .map_err(AgentError::Protocol),
            StatusCode::NOT_FOUND => Err(AgentError::TooOld),
            _ => Err(AgentError::NoAnswer),
        }
    });
    connected.await.unwrap_or(Err(AgentError::NoAnswer))
}
