//! Uploads of many files in one gzipped tar archive.

use std::io::{self, Read};
use std::sync::Arc;

use alcove_agent_api::ErrorCode;
use axum::body::Body;
use axum::extract::State;
use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::{blocking, required_path};
use crate::agent::Agent;
use crate::file::unpack::{Links, UnpackError, unpack};
use crate::http::ApiError;
use crate::http::params::Params;

/// Pieces of the body that wait for the disk.
const PIECES: usize = 8;

impl From<UnpackError> for ApiError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::File(error) => error.into(),
            other => Self::new(ErrorCode::InvalidRequestBody, other),
        }
    }
}

pub async fn upload_archive(
    State(agent): State<Arc<Agent>>,
    params: Params,
    mut body: Body,
) -> Result<StatusCode, ApiError> {
    let (folder, _) = required_path(&agent, &params, "path")?;
    let links = match params.get("links") {
        None | Some("false") => Links::Refused,
        Some("true") => Links::Kept,
        Some(_) => return Err(ApiError::bad_request("links must be true or false")),
    };
    let (pieces, waiting) = mpsc::channel(PIECES);
    let unpacking = tokio::spawn(blocking(move || {
        unpack(Pieces::new(waiting), &folder, links)
    }));
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(piece) => Ok(piece),
                Err(_) => continue,
            },
            Err(error) => Err(io::Error::other(error)),
        };
        let is_broken = piece.is_err();
        // One that has ended says why; the rest of the body is let go.
        if pieces.send(piece).await.is_err() || is_broken {
            break;
        }
    }
    drop(pieces);
    unpacking
        .await
        .map_err(|_| crate::http::error::panicked())??;
    Ok(StatusCode::CREATED)
}

/// A body as a thread that may block reads it.
struct Pieces {
    waiting: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    fn new(waiting: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            waiting,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.waiting.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
