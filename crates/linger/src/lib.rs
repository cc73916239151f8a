//! Answers that come before the request has been read reach their client.
//!
//! A server that refuses an upload after its first bytes and closes the connection makes the kernel of the
//! client throw the answer away: what it sees is a broken connection. Most clients also read nothing before
//! they have sent everything. [`Lingering`] is a request body that, given up half-read, is read on and thrown away
//! for a bounded time, while the answer goes out.
//!
//! A crate of its own, because the server and the agent both need it and must not see each other.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout, timeout_at};

/// The client may be silent for this long before it is given up (nginx: `lingering_timeout`).
const SILENT_FOR: Duration = Duration::from_secs(5);

/// The longest that anything is read on (nginx: `lingering_time`). On one machine that is tens of gigabytes.
const READ_ON_FOR: Duration = Duration::from_secs(30);

/// A request body that is read to its end even if whoever has it drops it before.
#[derive(Debug)]
pub struct Lingering<B: Body + Send + Unpin + 'static> {
    /// Gone once it has ended or failed.
    body: Option<B>,
    /// The client sends nothing before somebody asks for it, and nobody has.
    waits_to_be_asked: bool,
}

impl<B: Body + Send + Unpin + 'static> Lingering<B> {
    /// Wraps the body of a request with these headers.
    pub fn new(headers: &HeaderMap, body: B) -> Self {
        let waits_to_be_asked = headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            body: (!body.is_end_stream()).then_some(body),
            waits_to_be_asked,
        }
    }
}

impl<B: Body + Send + Unpin + 'static> Body for Lingering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.waits_to_be_asked = false;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Send + Unpin + 'static> Drop for Lingering<B> {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else {
            return;
        };
        if self.waits_to_be_asked || body.is_end_stream() {
            return;
        }
        // Outside of a runtime nothing can be read, and nobody is connected.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(read_on(body));
        }
    }
}

async fn read_on<B: Body + Unpin>(mut body: B) {
    let end = Instant::now() + READ_ON_FOR;
    let read_all = async {
        // An error is the client's end, which is an end as well.
        while let Ok(Some(Ok(_))) = timeout(SILENT_FOR, body.frame()).await {}
    };
    let _ = timeout_at(end, read_all).await;
}

#[cfg(test)]
mod tests;
