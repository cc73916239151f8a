//! Files: routes, and the calls that answer at once. Uploads and downloads have their own modules.

mod download;
mod search;
mod unpack;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use alcove_agent_api::FileInfo;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;

use crate::agent::Agent;
use crate::file::cancel;
use crate::file::entry::{self, Listing};
use crate::file::error::FileError;
use crate::file::tree::{self, Moved, Rights};
use crate::http::ApiError;
use crate::http::client::Client;
use crate::http::params::Params;
use crate::http::stream::{self, ARRAY};

/// Entries of a list that are looked up and sent at a time.
const LIST_BATCH: usize = 256;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/files", get(list).delete(delete))
        .route("/files/", get(list).delete(delete))
        .route("/files/find", get(search::find_text))
        .route("/files/search", get(search::find_names))
        .route("/files/replace", post(search::replace))
        .route("/files/info", get(info))
        .route("/files/folder", post(make_folder))
        .route("/files/move", post(move_to))
        .route("/files/permissions", post(set_rights))
        .route("/files/upload", post(upload::upload))
        .route("/files/upload-v2", post(upload::upload_and_tell))
        .route("/files/bulk-upload", post(upload::upload_many))
        .route("/files/unpack", post(unpack::upload_archive))
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
    let mut listing = blocking(move || Listing::open(&path, &shown, depth)).await?;
    let is_strict = client.is_strict();
    Ok(stream::list(ARRAY, move || {
        let batch: Vec<_> = listing.by_ref().take(LIST_BATCH).collect();
        let batch = batch.into_iter().map(|entry| for_client(entry, is_strict));
        (batch.len() > 0).then(|| batch.collect())
    }))
}

fn for_client(mut entry: FileInfo, is_strict: bool) -> FileInfo {
    if is_strict {
        entry.path = None;
        // They read the older field as the newer one is written.
        entry.mod_time = std::mem::take(&mut entry.modified_at);
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
    let makes_parents = params.get("parents") != Some("false");
    blocking(move || {
        if makes_parents {
            tree::make_folder(&path, mode)
        } else {
            tree::make_new_folder(&path, mode)
        }
    })
    .await?;
    Ok(StatusCode::CREATED)
}

async fn delete(State(agent): State<Arc<Agent>>, params: Params) -> Result<StatusCode, ApiError> {
    let (path, _) = required_path(&agent, &params, "path")?;
    let recursive = params.get("recursive") == Some("true");
    blocking(move || tree::delete(&path, recursive)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn move_to(State(agent): State<Arc<Agent>>, params: Params) -> Result<Response, ApiError> {
    let (source, _) = required_path(&agent, &params, "source")?;
    let (destination, _) = required_path(&agent, &params, "destination")?;
    let (_waiting, cancelled) = cancel::pair();
    match blocking(move || tree::move_to(&source, &destination, &cancelled)).await? {
        Moved::Whole => Ok(StatusCode::OK.into_response()),
        Moved::SourceLeft(error) => Ok(Json(serde_json::json!({
            "message": "moved, but the source is still there",
            "error": error.message,
        }))
        .into_response()),
    }
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
