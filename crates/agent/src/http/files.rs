//! Files: routes, and the calls that answer at once. Uploads and downloads have their own modules.

mod download;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use alcove_agent_api::{ClientGeneration, FileInfo};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::agent::Agent;
use crate::file::entry::{self, Listing};
use crate::file::error::FileError;
use crate::file::tree::{self, Rights};
use crate::http::ApiError;
use crate::http::client::Client;
use crate::http::params::Params;

/// Entries of a list that are looked up and sent at a time.
const LIST_BATCH: usize = 256;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/files", get(list).delete(delete))
        .route("/files/", get(list).delete(delete))
        .route("/files/info", get(info))
        .route("/files/folder", post(make_folder))
        .route("/files/move", post(move_to))
        .route("/files/permissions", post(set_rights))
        .route("/files/upload", post(upload::upload))
        .route("/files/upload-v2", post(upload::upload))
        .route("/files/bulk-upload", post(upload::upload_many))
        .route("/files/download", get(download::download))
        .route("/files/bulk-download", post(download::download_many))
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        Self::new(error.code, error.message)
    }
}

/// Runs work that blocks on a thread of the pool.
async fn blocking<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| super::error::panicked())?
        .map_err(Into::into)
}

async fn list(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    params: Params,
) -> Result<Response, ApiError> {
    let asked = params.get("path").unwrap_or_default();
    let path = agent.home.resolve(asked);
    let shown = if asked.is_empty() {
        path.to_string_lossy().into_owned()
    } else {
        asked.to_owned()
    };
    let depth = match params.get("depth").filter(|depth| !depth.is_empty()) {
        None => 1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|depth| *depth >= 1)
            .ok_or_else(|| ApiError::bad_request("depth must be a number of at least 1"))?,
    };
    let listing = blocking(move || Listing::open(&path, &shown, depth)).await?;
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, Body::from_stream(json_array(listing, client))).into_response())
}

/// A JSON array written while the folder is walked, so that a huge one is never held in memory.
fn json_array(
    listing: Listing,
    client: ClientGeneration,
) -> impl futures_util::Stream<Item = Result<Bytes, ApiError>> {
    let start = Some((listing, b'['));
    stream::unfold(start, move |state| {
        let is_strict = client.is_strict();
        async move {
            let (mut listing, mut separator) = state?;
            let batch = blocking(move || {
                let mut out = Vec::new();
                for _ in 0..LIST_BATCH {
                    let Some(entry) = listing.next() else {
                        if separator == b'[' {
                            out.push(separator);
                        }
                        out.push(b']');
                        return Ok::<_, ApiError>((out, None));
                    };
                    out.push(separator);
                    separator = b',';
                    // Facts about a file always serialise.
                    let _ = serde_json::to_writer(&mut out, &for_client(entry, is_strict));
                }
                Ok((out, Some((listing, separator))))
            });
            match batch.await {
                Ok((out, next)) => Some((Ok(out.into()), next)),
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

fn for_client(mut entry: FileInfo, is_strict: bool) -> FileInfo {
    if is_strict {
        entry.path = None;
    }
    entry
}

async fn info(
    State(agent): State<Arc<Agent>>,
    Client(client): Client,
    params: Params,
) -> Result<Json<FileInfo>, ApiError> {
    let (path, asked) = required_path(&agent, &params, "path")?;
    let entry = blocking(move || entry::info(&path, &asked)).await?;
    Ok(Json(for_client(entry, client.is_strict())))
}

async fn make_folder(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let (path, _) = required_path(&agent, &params, "path")?;
    let mode = octal(&params)?.unwrap_or(0o755);
    blocking(move || tree::make_folder(&path, mode)).await?;
    Ok(StatusCode::CREATED)
}

async fn delete(State(agent): State<Arc<Agent>>, params: Params) -> Result<StatusCode, ApiError> {
    let (path, _) = required_path(&agent, &params, "path")?;
    let recursive = params.get("recursive") == Some("true");
    blocking(move || tree::delete(&path, recursive)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn move_to(State(agent): State<Arc<Agent>>, params: Params) -> Result<StatusCode, ApiError> {
    let (source, _) = required_path(&agent, &params, "source")?;
    let (destination, _) = required_path(&agent, &params, "destination")?;
    blocking(move || tree::move_to(&source, &destination)).await?;
    Ok(StatusCode::OK)
}

async fn set_rights(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let (path, _) = required_path(&agent, &params, "path")?;
    let mode = octal(&params)?;
    blocking(move || {
        let name = |name| params.get(name).filter(|value| !value.is_empty());
        let rights = Rights {
            mode,
            owner: name("owner"),
            group: name("group"),
        };
        tree::set_rights(&path, &rights)
    })
    .await?;
    Ok(StatusCode::OK)
}

fn required_path(
    agent: &Agent,
    params: &Params,
    name: &str,
) -> Result<(PathBuf, String), ApiError> {
    let asked = params.required(name)?;
    Ok((agent.home.resolve(asked), asked.to_owned()))
}

fn octal(params: &Params) -> Result<Option<u32>, ApiError> {
    let Some(text) = params.get("mode").filter(|mode| !mode.is_empty()) else {
        return Ok(None);
    };
    u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .map(Some)
        .ok_or_else(|| ApiError::bad_request(format_args!("mode {text:?} is not octal")))
}
