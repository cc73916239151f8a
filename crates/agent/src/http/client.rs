//! The client's generation, as an extractor.

use alcove_agent_api::{
    ClientGeneration, SDK_VERSION_HEADER, SOURCE_HEADER, SPLIT_OUTPUT_HEADER, WS_VERSION_PREFIX,
};
use http::HeaderMap;

use crate::http::socket::offered_protocols;

/// Who is asking.
#[derive(Debug)]
pub struct Client(pub ClientGeneration);

impl<S: Sync> axum::extract::FromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        let text = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let offered = version_protocol(&parts.headers);
        let of_protocol = offered
            .as_deref()
            .map(|protocol| &protocol[WS_VERSION_PREFIX.len()..]);
        Ok(Self(ClientGeneration::new(
            text(SDK_VERSION_HEADER).or(of_protocol),
            text(SOURCE_HEADER),
            text(SPLIT_OUTPUT_HEADER),
        )))
    }
}

/// The WebSocket sub-protocol by which a browser names its version; it must be chosen in the answer.
pub fn version_protocol(headers: &HeaderMap) -> Option<String> {
    offered_protocols(headers)
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find(|protocol| protocol.starts_with(WS_VERSION_PREFIX))
        .map(str::to_owned)
}
