//! Files of a session.

use alcove_api_types::vercel::FilePath;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::agent::{Call, escaped, sandbox_of};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// Names the folder that an archive is meant for.
const FOLDER_HEADER: &str = "x-cwd";

/// Takes a gzipped tar archive, as it comes.
pub(crate) async fn write(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(session): PathOf<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let folder = match headers.get(FOLDER_HEADER) {
        None => ".",
        Some(folder) => std::str::from_utf8(folder.as_bytes())
            .map_err(|_| ApiError::invalid(&[format!("{FOLDER_HEADER} must be UTF-8")]))?,
    };
    let uri = format!("/files/unpack?path={}", escaped(folder));
    Call::upload(uri, body)
        .send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await?;
    Ok(Json(json!({})))
}

/// The bytes of a file.
pub(crate) async fn read(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(session): PathOf<String>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<FilePath>,
) -> Result<Response, ApiError> {
    let uri = format!("/files/download?path={}", escaped(&body.joined()));
    let mut answer = Call::get(uri)
        .send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await?;
    // Clients take no other.
    let kind = HeaderValue::from_static("application/octet-stream");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(answer)
}

/// Makes a folder that is not there yet, in one that is; or, asked to, all that is missing on the way.
pub(crate) async fn make_folder(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(session): PathOf<String>,
    headers: HeaderMap,
    BodyOf(body): BodyOf<FilePath>,
) -> Result<Json<Value>, ApiError> {
    let path = body.joined();
    let uri = format!(
        "/files/folder?path={}&parents={}",
        escaped(&path),
        body.recursive
    );
    let made = Call::post(uri, &json!({}))
        .send(&app, &headers, &sandbox_of(&app, &caller, &session)?)
        .await;
    // One word for what is wrong with a path; what is wrong with the session stays as it is.
    made.map_err(|error| {
        error.narrowed(
            &[
                "CONFLICT",
                "FILE_NOT_FOUND",
                "INVALID_FILE_PATH",
                "FILE_ACCESS_DENIED",
            ],
            StatusCode::BAD_REQUEST,
            "file_error",
        )
    })?;
    Ok(Json(json!({})))
}
