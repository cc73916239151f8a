//! Asks a new agent whether it is there.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The header that carries a sandbox's secret to its agent.
pub const TOKEN_HEADER: &str = "X-Alcove-Agent-Token";

/// Longest answer that is read. The agent is the sandbox's and may say anything.
const ANSWER_MAX_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("cannot connect to the agent")]
    Connect(#[source] io::Error),
    #[error("cannot speak to the agent")]
    Http(#[source] hyper::Error),
    #[error("the agent answered {status} to the question for its version")]
    Answer { status: http::StatusCode },
    #[error("the agent's answer cannot be read")]
    Body,
}

/// The name under which a socket in a folder can be reached, however long the folder's path is.
pub fn socket_path(folder: &impl AsFd, name: &str) -> PathBuf {
    PathBuf::from(format!(
        "/proc/self/fd/{}/{name}",
        folder.as_fd().as_raw_fd()
    ))
}

/// Connects and asks for the version. The socket listens before the agent runs, so this simply waits until
/// the agent has come up; the caller sets the limit.
pub async fn version(folder: &impl AsFd, name: &str, token: &str) -> Result<String, ProbeError> {
    let stream = UnixStream::connect(socket_path(folder, name))
        .await
        .map_err(ProbeError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(ProbeError::Http)?;
    let request = http::Request::get("/version")
        .header(http::header::HOST, "agent")
        .header(http::header::CONNECTION, "close")
        .header(TOKEN_HEADER, token)
        .body(Empty::<Bytes>::new())
        .map_err(|_| ProbeError::Body)?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(ProbeError::Http)?;
        let status = answer.status();
        if status != http::StatusCode::OK {
            return Err(ProbeError::Answer { status });
        }
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
        let bytes = body
            .collect()
            .await
            .map_err(|_| ProbeError::Body)?
            .to_bytes();
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|_| ProbeError::Body)?;
        value
            .get("version")
            .and_then(|v| v.as_str())
            .map(str::to_owned)
            .ok_or(ProbeError::Body)
    };
    // The exchange ends with an error of its own when the connection does.
    let connection = tokio::spawn(connection);
    let result = exchange.await;
    connection.abort();
    result
}
