//! JSON lists written while they are found, so that a long one is never held in memory.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;

use crate::http::ApiError;

/// What stands before and after the elements.
pub type Brackets = (&'static str, &'static str);

/// A list that is the whole answer.
pub const ARRAY: Brackets = ("[", "]");

/// The list's elements as JSON. `next_batch` may block; it gives no batch at the end, and is not called again when
/// the client has gone.
pub fn list<T: Serialize + 'static>(
    brackets: Brackets,
    next_batch: impl FnMut() -> Option<Vec<T>> + Send + 'static,
) -> Response {
    answer(Body::from_stream(pieces(brackets, next_batch)))
}

/// As [`list`], with trailers that are known only at the end.
pub fn list_with_trailers<T: Serialize + 'static>(
    brackets: Brackets,
    next_batch: impl FnMut() -> Option<Vec<T>> + Send + 'static,
    trailers: impl FnOnce() -> HeaderMap + Send + 'static,
) -> Response {
    let end = stream::once(async { Ok(Frame::trailers(trailers())) });
    let frames = pieces(brackets, next_batch).map(|piece| piece.map(Frame::data));
    answer(Body::new(StreamBody::new(Box::pin(frames.chain(end)))))
}

fn answer(body: Body) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], body).into_response()
}

fn pieces<T: Serialize + 'static>(
    (opening, closing): Brackets,
    next_batch: impl FnMut() -> Option<Vec<T>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ApiError>> + Send {
    stream::unfold(Some((next_batch, opening)), move |state| async move {
        let (mut next_batch, mut separator) = state?;
        // A search may go on for long without finding anything. In between, nothing may be waiting for it any more.
        loop {
            let made = tokio::task::spawn_blocking(move || {
                let mut out = Vec::new();
                let mut is_over = true;
                if let Some(batch) = next_batch() {
                    is_over = false;
                    for element in batch {
                        out.extend_from_slice(separator.as_bytes());
                        separator = ",";
                        // What we make lists of always serialises.
                        let _ = serde_json::to_writer(&mut out, &element);
                    }
                }
                (next_batch, separator, out, is_over)
            });
            let Ok((next, after, mut out, is_over)) = made.await else {
                return Some((Err(super::error::panicked()), None));
            };
            (next_batch, separator) = (next, after);
            if is_over {
                if separator == opening {
                    out.extend_from_slice(opening.as_bytes());
                }
                out.extend_from_slice(closing.as_bytes());
                return Some((Ok(out.into()), None));
            }
            if !out.is_empty() {
                return Some((Ok(out.into()), Some((next_batch, separator))));
            }
        }
    })
}
