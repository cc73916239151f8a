//! Searches in files, and replaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alcove_agent_api::{ErrorCode, ReplaceRequest, ReplaceResult};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem::Finder;

use super::{blocking, required_path};
use crate::agent::Agent;
use crate::file::find::{FindNames, FindText, MAX_MATCHES};
use crate::file::replace;
use crate::http::ApiError;
use crate::http::body::read_json;
use crate::http::params::Params;
use crate::http::stream::{self, ARRAY, Brackets};

/// Most matches that an answer has.
const RESULT_LIMIT: HeaderName = HeaderName::from_static("x-result-limit");

/// Trailer of an answer that has so many, and might have had more.
const RESULT_CUT: &str = "x-result-cut";

const FILES: Brackets = ("{\"files\":[", "]}");

pub async fn find_text(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<Response, ApiError> {
    let (path, asked) = required_path(&agent, &params, "path")?;
    let pattern = params.required("pattern")?.to_owned();
    let mut find = blocking(move || FindText::new(&path, &asked, &pattern)).await?;
    let is_cut = Arc::new(AtomicBool::new(false));
    let was_cut = is_cut.clone();
    let next_batch = move || {
        let batch = find.next_batch();
        is_cut.store(find.is_cut(), Ordering::Relaxed);
        batch
    };
    let mut response = stream::list_with_trailers(ARRAY, next_batch, move || {
        let is_cut = was_cut.load(Ordering::Relaxed);
        let cut = (
            HeaderName::from_static(RESULT_CUT),
            HeaderValue::from_static("true"),
        );
        HeaderMap::from_iter(is_cut.then_some(cut))
    });
    let headers = response.headers_mut();
    headers.insert(RESULT_LIMIT, MAX_MATCHES.into());
    headers.insert(TRAILER, HeaderValue::from_static(RESULT_CUT));
    Ok(response)
}

pub async fn find_names(
    State(agent): State<Arc<Agent>>,
    params: Params,
) -> Result<Response, ApiError> {
    let (path, asked) = required_path(&agent, &params, "path")?;
    let pattern = params.required("pattern")?.to_owned();
    let mut find = blocking(move || FindNames::new(&path, &asked, &pattern)).await?;
    Ok(stream::list(FILES, move || find.next_batch()))
}

/// Each file by itself, in order: one that fails does not keep the others from being changed.
pub async fn replace(
    State(agent): State<Arc<Agent>>,
    body: Body,
) -> Result<Json<Vec<ReplaceResult>>, ApiError> {
    let request: ReplaceRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    let missing = |name: &str| {
        ApiError::new(
            ErrorCode::InvalidRequestBody,
            format_args!("{name} is required"),
        )
    };
    let files = request.files.ok_or_else(|| missing("files"))?;
    let pattern = request.pattern.filter(|pattern| !pattern.is_empty());
    let pattern = pattern.ok_or_else(|| missing("pattern"))?;
    let new_value = request.new_value.ok_or_else(|| missing("newValue"))?;

    let finder = Arc::new(Finder::new(pattern.as_bytes()).into_owned());
    let new_value: Arc<[u8]> = new_value.into_bytes().into();
    let mut results = Vec::with_capacity(files.len());
    for file in files {
        let path = agent.home.resolve(&file);
        let (finder, new_value) = (finder.clone(), new_value.clone());
        let replaced = blocking(move || replace::replace(&path, &finder, &new_value)).await;
        results.push(ReplaceResult {
            file,
            success: replaced.is_ok(),
            error: replaced.err().map(|error| error.message),
        });
    }
    Ok(Json(results))
}
