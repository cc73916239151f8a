//! Streamable HTTP: each request is a whole, without a session.
//!
//! There is nothing to remember between two calls, so there are no sessions to bound, to end, or to be taken over with
//! another's key. The caller is who sent the request.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

use alcove_actions::{Api, Held, INPUT_MAX_BYTES, Room};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use crate::tools::{Kept, Tools};

/// The largest request: an input, and what the protocol says around it.
pub const BODY_MAX_BYTES: u64 = INPUT_MAX_BYTES + (64 << 10);

/// Answers one request of a client that has been let in, on its behalf.
///
/// `origins` are those of pages that may ask, such as `https://example.com:443`. A request with an `Origin` is a browser's:
/// one of any other page is refused, so that no page reaches a server that its visitor can reach. Requests without one
/// come from programs.
///
/// Beside the answer comes the place that it takes in the room, where it is a large one: to be kept until it has been sent.
pub async fn serve_request<B>(
    request: Request<B>,
    api: Arc<dyn Api>,
    room: Room,
    origins: &[String],
) -> (Response<BoxBody<Bytes, Infallible>>, Option<Held>)
where
    B: http_body::Body + Send + 'static,
    B::Error: Display + Into<Box<dyn Error + Send + Sync>>,
    B::Data: Send,
{
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        // The key is what lets in, and the name of a server behind a proxy is whatever it is.
        .disable_allowed_hosts()
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_max_request_body_bytes(usize::try_from(BODY_MAX_BYTES).unwrap_or(usize::MAX));
    let kept = Kept::default();
    let tools = Tools::new(api, room, Some(kept.clone()));
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let answer = service.handle(request).await;
    (answer, kept.take())
}
