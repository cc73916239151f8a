//! The tools of the Model Context Protocol. The protocol is spoken by `alcove-mcp`.

use std::convert::Infallible;
use std::sync::Arc;

use alcove_api_types::ErrorBody;
use alcove_mcp::{BODY_MAX_BYTES, serve_request};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt as _, Collected};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Authenticated;
use crate::inside::Inside;
use crate::parcel;
use crate::routes::actions;

crate::routes::routes! {
    post "/mcp", Key => call;
}

/// One message of the protocol, by streamable HTTP without sessions.
#[utoipa::path(post, path = "/mcp", tag = "mcp", operation_id = "mcp",
    request_body(content = Object, description = "A message of JSON-RPC"),
    responses((status = 200, body = Object, description = "The answer to a request"),
        (status = 202, description = "A notification was taken"),
        (status = 403, description = "The page that asks is of an origin that may not"),
        (status = 413, description = "The message is too large", body = ErrorBody)))]
pub(crate) async fn call(
    State(app): State<App>,
    Authenticated(_): Authenticated,
    inside: Inside,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let (body, held) = actions::read(&app, body, BODY_MAX_BYTES).await?;
    let request = Request::from_parts(parts, Body::from(body));
    let origins = app.mcp_origins();
    let (answer, takes) =
        serve_request(request, Arc::new(inside), app.room().clone(), origins).await;
    drop(held);
    let Some(takes) = takes else {
        return told(answer).await;
    };
    let (mut parts, body) = answer.into_parts();
    let Ok(content) = body.collect().await.map(Collected::to_bytes);
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    Ok(Response::from_parts(parts, parcel::body(content, takes)))
}

/// A refusal of the protocol's transport comes as plain text; here it gets the shape of all failures.
async fn told<B>(answer: http::Response<B>) -> Result<Response, ApiError>
where
    B: HttpBody<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let status = answer.status();
    if status.is_success() || answer.headers().contains_key(CONTENT_TYPE) {
        return Ok(answer.map(Body::new));
    }
    let Ok(text) = answer.into_body().collect().await.map(Collected::to_bytes);
    let code = status.canonical_reason().unwrap_or("Bad Request");
    let code = code.to_uppercase().replace(' ', "_");
    Err(ApiError::new(status, code, String::from_utf8_lossy(&text)))
}
