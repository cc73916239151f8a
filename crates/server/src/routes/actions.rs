//! The flat actions. What they do stands in `alcove-actions`.

use std::time::Duration;

use alcove_actions::{ACTIONS, Entry, Held, INPUT_MAX_BYTES, Outcome, find};
use alcove_api_types::ErrorBody;
use alcove_api_types::actions::ActionDescription;
use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::timeout;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf};
use crate::inside::Inside;
use crate::parcel;

/// What the API said to the action, for logs of proxies: the answer itself is always 200.
const ACTION_STATUS: HeaderName = HeaderName::from_static("x-action-status");

/// A sender that is silent for so long is not waited for, nor one that takes so long in all.
const SILENT_FOR: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_mins(5);
/// What is read before room is made for the rest.
const BEGINNING_BYTES: u64 = 1 << 20;

crate::routes::routes! {
    get "/api/actions", Key => list;
    get "/api/actions/{name}", Key => get;
    post "/api/actions/{name}", Key => call;
}

/// All actions, with the schemas of what they take and give.
#[utoipa::path(get, path = "/api/actions", tag = "actions", operation_id = "listActions",
    responses((status = 200, body = Vec<ActionDescription>)))]
pub(crate) async fn list(Authenticated(_): Authenticated) -> Json<Vec<ActionDescription>> {
    Json(ACTIONS.iter().map(Entry::describe).collect())
}

/// One action.
#[utoipa::path(get, path = "/api/actions/{name}", tag = "actions", operation_id = "getAction",
    params(("name" = String, Path)),
    responses((status = 200, body = ActionDescription), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    Authenticated(_): Authenticated,
    PathOf(name): PathOf<String>,
) -> Result<Json<ActionDescription>, ApiError> {
    Ok(Json(known(&name)?.describe()))
}

/// Carries out an action. The answer is 200 with the output object whatever came of it; `success` tells.
#[utoipa::path(post, path = "/api/actions/{name}", tag = "actions", operation_id = "callAction",
    params(("name" = String, Path)),
    request_body(content = Object, description = "As the action's input schema says"),
    responses((status = 200, body = Object, description = "As the action's output schema says"),
        (status = 404, description = "There is no such action", body = ErrorBody),
        (status = 413, description = "The input is too large", body = ErrorBody)))]
pub(crate) async fn call(
    State(app): State<App>,
    Authenticated(_): Authenticated,
    inside: Inside,
    PathOf(name): PathOf<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let action = known(&name)?;
    let (body, held) = read(&app, request.into_body(), INPUT_MAX_BYTES).await?;
    // As everywhere in the API, nothing is as good as an empty object.
    let input = if body.iter().all(u8::is_ascii_whitespace) {
        Ok(Value::Object(serde_json::Map::new()))
    } else {
        serde_json::from_slice(&body)
    };
    drop(body);
    let outcome = match input {
        Ok(input) => action.call(input, &inside, app.room()).await,
        Err(_) => action.not_json(),
    };
    drop(held);
    tracing::debug!(
        action = action.name,
        success = outcome.success,
        "carried out"
    );
    Ok(answer(outcome))
}

fn known(name: &str) -> Result<&'static Entry, ApiError> {
    find(name).ok_or_else(|| ApiError::not_found("There is no such action"))
}

/// Reads a body that may hold a file, with room made for it.
pub(super) async fn read(
    app: &App,
    body: Body,
    limit: u64,
) -> Result<(Bytes, Option<Held>), ApiError> {
    let reading = timeout(BODY_TIMEOUT, read_pieces(app, body, limit));
    reading
        .await
        .map_err(|_| ApiError::unreadable_body(StatusCode::REQUEST_TIMEOUT))?
}

async fn read_pieces(
    app: &App,
    mut body: Body,
    limit: u64,
) -> Result<(Bytes, Option<Held>), ApiError> {
    let least = body.size_hint().lower();
    let most = body.size_hint().upper().unwrap_or(limit);
    if least > limit {
        return Err(ApiError::unreadable_body(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let mut held = None;
    let mut read = BytesMut::new();
    loop {
        let frame = timeout(SILENT_FOR, body.frame())
            .await
            .map_err(|_| ApiError::unreadable_body(StatusCode::REQUEST_TIMEOUT))?;
        let Some(frame) = frame else {
            return Ok((read.freeze(), held));
        };
        let frame = frame.map_err(|_| ApiError::unreadable_body(StatusCode::BAD_REQUEST))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        let length = read.len() as u64 + piece.len() as u64;
        if length > limit {
            return Err(ApiError::unreadable_body(StatusCode::PAYLOAD_TOO_LARGE));
        }
        if length > BEGINNING_BYTES && held.is_none() {
            held = Some(app.room().hold(most.min(limit)).await);
            read.reserve(usize::try_from(least).unwrap_or_default());
        }
        read.extend_from_slice(&piece);
    }
}

fn answer(outcome: Outcome) -> Response {
    let Outcome {
        status, json, held, ..
    } = outcome;
    let length = HeaderValue::from(json.len());
    let body = match held {
        None => Body::from(json),
        Some(held) => parcel::body(Bytes::from(json), held),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CONTENT_LENGTH, length),
        (ACTION_STATUS, HeaderValue::from(status.as_u16())),
    ];
    (headers, body).into_response()
}
