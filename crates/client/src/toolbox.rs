//! What can be done inside one sandbox.

use std::io;
use std::time::Duration;

use alcove_agent_api::{
    CodeRunRequest, CodeRunResponse, Command, CreateSessionRequest, Dir, ExecuteRequest,
    ExecuteResponse, FileInfo, Session, SessionExecRequest, SessionExecResponse, SessionLogs,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::transport::{DEFAULT_TIMEOUT, Payload, Transport, escaped, json};
use crate::{ClientError, Socket};

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
        let limit = transfer_limit(content.len());
        let content = Bytes::copy_from_slice(content);
        let content = stream::once(async { Ok(content) });
        self.upload_within(Some(limit), path, content).await
    }

    /// Writes a file from what comes piece by piece, however long that takes.
    pub async fn upload_from(
        &self,
        path: &str,
        content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        self.upload_within(None, path, content).await
    }

    async fn upload_within(
        &self,
        limit: Option<Duration>,
        path: &str,
        content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        // Not in the content: it would have to hold 128 bits that nobody has seen before.
        const BOUNDARY: &str = "alcove-7f6d0c2b9b4e4f2e8d3a1c5b6e7f8091";
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let text = |text: String| stream::once(async { Ok(Bytes::from(text)) });
        let pieces = text(head).chain(content).chain(text(tail));
        let frames = pieces.map(|piece| piece.map(Frame::data).map_err(Into::into));
        let payload = Payload::Stream {
            content_type: format!("multipart/form-data; boundary={BOUNDARY}"),
            body: StreamBody::new(frames).boxed_unsync(),
        };
        let path = format!("/files/upload-v2?path={}", escaped(path));
        self.transport
            .with_timeout(limit)
            .send(Method::POST, &path, payload)
            .await?;
        Ok(())
    }

    /// The whole of a file.
    pub async fn download(&self, path: &str) -> Result<Bytes, ClientError> {
        self.transport
            .with_timeout(None)
            .send(Method::GET, &download_path(path), Payload::Nothing)
            .await
    }

    /// A file piece by piece.
    pub async fn download_pieces(&self, path: &str) -> Result<Download, ClientError> {
        let path = download_path(path);
        let body = self
            .transport
            .open(&Method::GET, &path, Payload::Nothing)
            .await?;
        Ok(Download { body, path })
    }

    /// Opens one of the toolbox's WebSockets, such as `/process/pty/create-connect?id=a`, offering the
    /// sub-protocols.
    pub async fn open_socket(&self, path: &str, protocols: &[&str]) -> Result<Socket, ClientError> {
        Socket::open(&self.transport, path, protocols).await
    }

    /// Ends a terminal and all that runs in it.
    pub async fn delete_terminal(&self, terminal: &str) -> Result<(), ClientError> {
        let path = format!("/process/pty/{}", escaped(terminal));
        self.transport
            .send(Method::DELETE, &path, Payload::Nothing)
            .await?;
        Ok(())
    }

    /// Follows a command's output: binary messages of both streams with their markers, then a close with 1000.
    pub async fn follow_logs(&self, session: &str, command: &str) -> Result<Socket, ClientError> {
        let path = logs_path(session, command);
        self.open_socket(&format!("{path}?follow=true"), &[]).await
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
        let path = logs_path(session, command);
        self.transport.call(Method::GET, &path).await
    }
}

/// A file on its way here.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    path: String,
}

impl Download {
    /// The next piece, or `None` at the end of the file.
    ///
    /// # Errors
    /// The file ended before its time.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|source| ClientError::receive(&Method::GET, &self.path, source))?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

fn download_path(path: &str) -> String {
    format!("/files/download?path={}", escaped(path))
}

fn logs_path(session: &str, command: &str) -> String {
    format!(
        "/process/session/{}/command/{}/logs",
        escaped(session),
        escaped(command)
    )
}

/// The usual limit and a second for each MiB.
fn transfer_limit(bytes: usize) -> Duration {
    DEFAULT_TIMEOUT + Duration::from_secs((bytes >> 20) as u64)
}
