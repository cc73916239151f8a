//! Answers that carry program output, written piece by piece.

use std::collections::VecDeque;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::process::capture::Captured;
use crate::text::JsonText;

/// A JSON object with `result` as its last field: the fields of `fields`, then the output.
///
/// The output is read while the answer is sent, so that a long one is never held in memory.
pub fn with_result(status: StatusCode, fields: &impl Serialize, mut output: Captured) -> Response {
    // Objects of ours always serialise.
    let mut start = serde_json::to_vec(fields).unwrap_or_else(|_| b"{}".to_vec());
    start.pop();
    if start.len() > 1 {
        start.push(b',');
    }
    start.extend_from_slice(b"\"result\":\"");
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];

    let mut text = JsonText::default();
    if output.is_in_memory() {
        if let Some(piece) = output.next_piece() {
            text.push(&piece, &mut start);
        }
        text.finish(&mut start);
        start.extend_from_slice(b"\"}");
        return (status, json, start).into_response();
    }
    let rest = VecDeque::from([start]);
    let pieces = stream::unfold(Some((output, text, rest)), |state| async move {
        let (mut output, mut text, mut ready) = state?;
        if let Some(piece) = ready.pop_front() {
            return Some((
                Ok::<_, std::io::Error>(Bytes::from(piece)),
                Some((output, text, ready)),
            ));
        }
        let read = tokio::task::spawn_blocking(move || {
            let piece = output.next_piece();
            (output, piece)
        });
        let (output, piece) = read.await.ok()?;
        let mut out = Vec::new();
        if let Some(piece) = piece {
            text.push(&piece, &mut out);
            return Some((Ok(Bytes::from(out)), Some((output, text, ready))));
        }
        text.finish(&mut out);
        out.extend_from_slice(b"\"}");
        Some((Ok(Bytes::from(out)), None))
    });
    (status, json, Body::from_stream(pieces)).into_response()
}
