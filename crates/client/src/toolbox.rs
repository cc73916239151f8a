//! What can be done inside one sandbox.

use std::time::Duration;

use alcove_agent_api::{
    CodeRunRequest, CodeRunResponse, Command, CreateSessionRequest, Dir, ExecuteRequest,
    ExecuteResponse, FileInfo, Session, SessionExecRequest, SessionExecResponse, SessionLogs,
};
use bytes::Bytes;
use http::Method;

use crate::ClientError;
use crate::transport::{DEFAULT_TIMEOUT, Payload, Transport, escaped, json};

/// A sandbox's toolbox. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Toolbox {
    transport: Transport,
}

/// How long an answer may take after the command's own limit.
const GRACE: Duration = Duration::from_secs(10);

impl Toolbox {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Runs a shell command. Its own limit bounds the call; without one the call waits for ever.
    pub async fn execute(&self, request: &ExecuteRequest) -> Result<ExecuteResponse, ClientError> {
        self.limited_by(request.timeout)
            .call_with(Method::POST, "/process/execute", request)
            .await
    }

    /// Runs source text. Its own limit bounds the call; without one the call waits for ever.
    pub async fn code_run(&self, request: &CodeRunRequest) -> Result<CodeRunResponse, ClientError> {
        self.limited_by(request.timeout)
            .call_with(Method::POST, "/process/code-run", request)
            .await
    }

    fn limited_by(&self, seconds: Option<u64>) -> Transport {
        let limit = seconds
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds) + GRACE);
        self.transport.with_timeout(limit)
    }

    pub async fn work_dir(&self) -> Result<String, ClientError> {
        let dir: Dir = self.transport.call(Method::GET, "/work-dir").await?;
        Ok(dir.dir)
    }

    pub async fn list_files(&self, path: &str) -> Result<Vec<FileInfo>, ClientError> {
        let path = format!("/files?path={}", escaped(path));
        self.transport.call(Method::GET, &path).await
    }

    /// Writes a file, folders above it included.
    pub async fn upload(&self, path: &str, content: &[u8]) -> Result<(), ClientError> {
        // Not in the content: it would have to hold 128 bits that nobody has seen before.
        const BOUNDARY: &str = "alcove-7f6d0c2b9b4e4f2e8d3a1c5b6e7f8091";
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let mut bytes = Vec::with_capacity(head.len() + content.len() + tail.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(tail.as_bytes());
        let payload = Payload::Bytes {
            content_type: format!("multipart/form-data; boundary={BOUNDARY}"),
            bytes: bytes.into(),
        };
        let path = format!("/files/upload-v2?path={}", escaped(path));
        self.transport
            .with_timeout(Some(transfer_limit(content.len())))
            .send(Method::POST, &path, payload)
            .await?;
        Ok(())
    }

    /// The whole of a file.
    pub async fn download(&self, path: &str) -> Result<Bytes, ClientError> {
        let path = format!("/files/download?path={}", escaped(path));
        self.transport
            .with_timeout(None)
            .send(Method::GET, &path, Payload::Nothing)
            .await
    }

    pub async fn create_session(&self, session: &str) -> Result<(), ClientError> {
        let body = CreateSessionRequest {
            session_id: session.to_owned(),
        };
        let path = "/process/session";
        let payload = json(&Method::POST, path, &body)?;
        self.transport.send(Method::POST, path, payload).await?;
        Ok(())
    }

    pub async fn sessions(&self) -> Result<Vec<Session>, ClientError> {
        self.transport.call(Method::GET, "/process/session").await
    }

    pub async fn delete_session(&self, session: &str) -> Result<(), ClientError> {
        let path = format!("/process/session/{}", escaped(session));
        self.transport
            .send(Method::DELETE, &path, Payload::Nothing)
            .await?;
        Ok(())
    }

    /// Runs a command in a session and waits for it, unless the request says not to.
    pub async fn session_execute(
        &self,
        session: &str,
        request: &SessionExecRequest,
    ) -> Result<SessionExecResponse, ClientError> {
        let path = format!("/process/session/{}/exec", escaped(session));
        self.transport
            .with_timeout(None)
            .call_with(Method::POST, &path, request)
            .await
    }

    pub async fn session_command(
        &self,
        session: &str,
        command: &str,
    ) -> Result<Command, ClientError> {
        let path = format!(
            "/process/session/{}/command/{}",
            escaped(session),
            escaped(command)
        );
        self.transport.call(Method::GET, &path).await
    }

    pub async fn session_logs(
        &self,
        session: &str,
        command: &str,
    ) -> Result<SessionLogs, ClientError> {
        let path = format!(
            "/process/session/{}/command/{}/logs",
            escaped(session),
            escaped(command)
        );
        self.transport.call(Method::GET, &path).await
    }
}

/// The usual limit and a second for each MiB.
fn transfer_limit(bytes: usize) -> Duration {
    DEFAULT_TIMEOUT + Duration::from_secs((bytes >> 20) as u64)
}
