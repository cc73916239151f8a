//! What is looked at of a request while it goes by, for the audit log: all of a small body of JSON, and the names under which
//! files are sent. Nothing is held up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use alcove_control::{TrafficBody, is_body_told};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use hyper::body::{Body as _, Frame, SizeHint};
use memchr::memmem;

/// The longest JSON that is looked at.
const JSON_MAX_BYTES: usize = 64 * 1024;
/// The longest head and name of a part.
const PART_MAX_BYTES: usize = 8 * 1024;
/// Names that are kept.
const NAMES_MAX: usize = 50;

/// What was seen so far.
#[derive(Clone, Default)]
pub(crate) struct Seen(Option<Arc<Mutex<State>>>);

enum State {
    Json(Vec<u8>),
    TooLong,
    Parts(Parts),
}

/// Looks for the parts of a form that say where a file goes.
struct Parts {
    /// What stands before each part.
    mark: Vec<u8>,
    /// What was not looked at to its end.
    rest: Vec<u8>,
    names: Vec<String>,
}

/// A body that is looked at.
struct Watched {
    body: Body,
    state: Arc<Mutex<State>>,
}

impl Seen {
    /// Looks at the body of a request to the agent, if there is anything to be known by it.
    pub fn watch(method: &str, tail: &str, headers: &HeaderMap, body: Body) -> (Body, Self) {
        if body.is_end_stream() || !is_body_told(method, tail) {
            return (body, Self::default());
        }
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let state = match kind.and_then(boundary) {
            Some(boundary) => State::Parts(Parts::new(boundary)),
            None if body.size_hint().lower() > JSON_MAX_BYTES as u64 => State::TooLong,
            None => State::Json(Vec::new()),
        };
        if matches!(state, State::TooLong) {
            return (body, Self(Some(Arc::new(Mutex::new(state)))));
        }
        let state = Arc::new(Mutex::new(state));
        let watched = Watched {
            body,
            state: Arc::clone(&state),
        };
        (Body::new(watched), Self(Some(state)))
    }

    /// What was seen until now.
    pub fn take(self) -> TrafficBody {
        let Some(state) = self.0 else {
            return TrafficBody::Unseen;
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Json(text) => TrafficBody::Whole(std::mem::take(text)),
            State::TooLong => TrafficBody::TooLong,
            State::Parts(parts) => TrafficBody::Files(std::mem::take(&mut parts.names)),
        }
    }
}

fn boundary(kind: &str) -> Option<&str> {
    let (essence, parameters) = kind.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("boundary");
        is_it.then(|| value.trim().trim_matches('"'))
    })
}

impl State {
    fn see(&mut self, data: &[u8]) {
        match self {
            Self::Json(text) if text.len() + data.len() > JSON_MAX_BYTES => *self = Self::TooLong,
            Self::Json(text) => text.extend_from_slice(data),
            Self::TooLong => {}
            Self::Parts(parts) => parts.see(data),
        }
    }
}

impl Parts {
    fn new(boundary: &str) -> Self {
        Self {
            mark: format!("--{boundary}\r\n").into_bytes(),
            rest: Vec::new(),
            names: Vec::new(),
        }
    }

    fn see(&mut self, data: &[u8]) {
        if self.names.len() >= NAMES_MAX {
            return;
        }
        self.rest.extend_from_slice(data);
        let mut from = 0;
        loop {
            let Some(found) = memmem::find(&self.rest[from..], &self.mark) else {
                // The mark may have begun.
                from = from.max(self.rest.len().saturating_sub(self.mark.len()));
                break;
            };
            let start = from + found;
            from = start + self.mark.len();
            match name_in(&self.rest[from..], &self.mark) {
                Part::Path(name) => self.names.push(name),
                Part::Unfinished => {
                    from = start;
                    break;
                }
                Part::Other => {}
            }
        }
        self.rest.drain(..from);
    }
}

enum Part {
    /// It says where a file goes.
    Path(String),
    Other,
    /// More of it must come.
    Unfinished,
}

/// What a part is that begins here. No more is looked at than such a part may have, and nothing of the parts behind it: a body may
/// be nothing but marks.
fn name_in(rest: &[u8], mark: &[u8]) -> Part {
    let near = &rest[..rest.len().min(PART_MAX_BYTES)];
    let end = memmem::find(near, &mark[..mark.len() - 2]);
    let part = &near[..end.unwrap_or(near.len())];
    let head = memmem::find(part, b"\r\n\r\n");
    let is_path = head.map(|head| memmem::find(&part[..head], b"].path\"").is_some());
    match (head, is_path, end) {
        (Some(head), Some(true), Some(_)) => {
            let value = &part[head + 4..];
            let value = value.strip_suffix(b"\r\n").unwrap_or(value);
            Part::Path(String::from_utf8_lossy(value).into_owned())
        }
        (_, Some(false), _) | (None, _, Some(_)) => Part::Other,
        _ if rest.len() < PART_MAX_BYTES => Part::Unfinished,
        _ => Part::Other,
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.see(data);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n/a b\r\n\
        --B\r\nContent-Disposition: form-data; name=\"files[0].file\"; filename=\"x\"\r\n\r\n\
        --C\r\nname=\"files[9].path\"\r\n\r\n/forged\r\n--C\r\n\r\n\
        --B\r\nContent-Disposition: form-data; name=\"files[1].path\"\r\n\r\nb\r\n--B--\r\n";

    proptest! {
        #[test]
        fn names_of_files_are_seen_however_the_body_is_cut(cuts in proptest::collection::vec(1_usize..60, 1..40)) {
            let mut parts = Parts::new("B");
            let mut rest = FORM.as_bytes();
            for cut in cuts.iter().cycle() {
                let (data, later) = rest.split_at((*cut).min(rest.len()));
                parts.see(data);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&parts.names, &["/a b", "b"]);
        }
    }

    #[test]
    fn a_part_without_an_end_is_given_up() {
        let mut parts = Parts::new("B");
        parts.see(b"--B\r\nname=\"files[0].path\"\r\n\r\n");
        for _ in 0..100 {
            parts.see(&[b'x'; 1000]);
            assert!(parts.rest.len() < 2 * PART_MAX_BYTES);
        }
        assert!(parts.names.is_empty());
    }

    #[test]
    fn a_body_of_nothing_but_marks_is_looked_at_once() {
        let mut parts = Parts::new("x");
        let marks = b"--x\r\n".repeat(1 << 20);
        for data in marks.chunks(256 << 10) {
            parts.see(data);
            assert!(parts.rest.len() < 2 * PART_MAX_BYTES);
        }
        parts.see(b"--x\r\nname=\"files[0].path\"\r\n\r\na\r\n--x--");
        assert_eq!(parts.names, ["a"]);
    }

    #[test]
    fn the_boundary_is_found_in_every_spelling() {
        assert_eq!(boundary("multipart/form-data; boundary=x"), Some("x"));
        assert_eq!(
            boundary("Multipart/Form-Data;charset=a; Boundary=\"x y\""),
            Some("x y")
        );
        assert_eq!(boundary("application/json"), None);
    }
}
