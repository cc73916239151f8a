//! The tools of the Model Context Protocol. The protocol is spoken by `alcove-mcp`.

use std::sync::Arc;

use alcove_api_types::ErrorBody;
use alcove_mcp::{BODY_MAX_BYTES, serve_request};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
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
        return Ok(answer.map(Body::new));
    };
    let (mut parts, body) = answer.into_parts();
    let Ok(content) = body.collect().await.map(Collected::to_bytes);
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    Ok(Response::from_parts(parts, parcel::body(content, takes)))
}
