//! A server elsewhere, as actions ask it.

use std::error::Error as _;

use alcove_actions::{Api, ApiBody, Unreachable};
use alcove_client::{Client, ClientError};
use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt as _;

#[derive(Debug)]
pub struct Remote(pub Client);

#[async_trait]
impl Api for Remote {
    async fn send(&self, request: Request<ApiBody>) -> Result<Response<ApiBody>, Unreachable> {
        let response = self.0.pass(request).await;
        let response = response.map_err(|error| unreachable(&error))?;
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

/// The error with what led to it.
fn unreachable(error: &ClientError) -> Unreachable {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Unreachable(text)
}
