//! Speaks to the agent of a step.

use std::os::fd::AsFd;

use alcove_agent_api::{
    AGENT_TOKEN_HEADER, BuildCopyRequest, BuildCopyResponse, BuildFetchRequest, BuildFrame,
    BuildRunEnd, BuildRunRequest,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;

use super::log::LogWriter;

/// Longest answer that is read whole.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// Longest reason of an agent that is passed on.
const REASON_MAX_CHARS: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent's own words.
    #[error("{0}")]
    Refused(String),
    #[error("the sandbox of the step ended early, perhaps for lack of memory")]
    Gone,
}

fn gone<E>(_: E) -> AgentError {
    AgentError::Gone
}

pub struct Agent<'a, F: AsFd> {
    pub sockets: &'a F,
    pub sandbox: &'a str,
    pub token: &'a str,
}

impl<F: AsFd> Agent<'_, F> {
    async fn post<T: Serialize>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<http::Response<Incoming>, AgentError> {
        let path_of_socket = crate::socket_path(self.sockets, self.sandbox);
        let stream = UnixStream::connect(path_of_socket).await.map_err(gone)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
        // It ends with the answer's body, or with the sandbox.
        tokio::spawn(connection);
        let body = serde_json::to_vec(body).expect("plain data can always be written");
        let request = http::Request::post(path)
            .header(http::header::HOST, "agent")
            .header(http::header::CONNECTION, "close")
            .header(AGENT_TOKEN_HEADER, self.token)
            .body(Full::new(Bytes::from(body)))
            .map_err(gone)?;
        sender.send_request(request).await.map_err(gone)
    }

    /// Copies, or tells the digest of what would be copied.
    pub async fn copy(&self, request: &BuildCopyRequest) -> Result<String, AgentError> {
        let bytes = self.ask("/build/copy", request).await?;
        let answer: BuildCopyResponse = serde_json::from_slice(&bytes).map_err(gone)?;
        Ok(answer.digest)
    }

    /// Fetches something from elsewhere into the sandbox.
    pub async fn fetch(&self, request: &BuildFetchRequest) -> Result<(), AgentError> {
        self.ask("/build/fetch", request).await.map(drop)
    }

    /// A short answer, whole.
    async fn ask<T: Serialize>(&self, path: &str, body: &T) -> Result<Bytes, AgentError> {
        let answer = self.post(path, body).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
        let bytes = body.collect().await.map_err(gone)?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let message = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|value| value.get("message")?.as_str().map(str::to_owned));
        let message: String = message
            .unwrap_or_default()
            .chars()
            .take(REASON_MAX_CHARS)
            .collect();
        Err(AgentError::Refused(message))
    }

    /// Runs a command to its end; what it says goes into the log.
    pub async fn run(
        &self,
        request: &BuildRunRequest,
        log: &LogWriter,
    ) -> Result<BuildRunEnd, AgentError> {
        let answer = self.post("/build/run", request).await?;
        if answer.status() != http::StatusCode::OK {
            return Err(AgentError::Refused(
                "the agent does not run commands".to_owned(),
            ));
        }
        let mut body = answer.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.map_err(gone)?.into_data() else {
                continue;
            };
            buffer.extend_from_slice(&bytes);
            while let Some(frame) = BuildFrame::take(&mut buffer).map_err(gone)? {
                match frame {
                    BuildFrame::Output(bytes) => log.output(&bytes),
                    BuildFrame::End(end) => return Ok(end),
                }
            }
        }
        Err(AgentError::Gone)
    }
}
