//! Snapshots, to be read.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{Snapshot, SnapshotPage};
use alcove_control::ListSnapshots;
use alcove_domain::SnapshotSort;
use axum::extract::State;
use axum::response::Response;

use super::sandbox_list::order;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, ClientEra, PathOf, QueryOf};
use crate::present;

/// Snapshots that the caller can make sandboxes from.
#[utoipa::path(get, path = "/api/snapshots", tag = "snapshots", operation_id = "getAllSnapshots",
    params(("page" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("name" = Option<String>, Query, description = "Part of the name"),
        ("sourceSandboxId" = Option<String>, Query),
        ("sort" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = SnapshotPage), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let list = ListSnapshots {
        name: query.text("name"),
        source_sandbox_id: query.text("sourceSandboxId"),
        sort: query.word("sort", sort),
        order: query.word("order", order),
        limit: query.integer("limit"),
        page: query.integer("page"),
    };
    let reasons = query.into_reasons();
    if !reasons.is_empty() {
        return Err(ApiError::invalid(&reasons));
    }
    let page = app.control().list_snapshots(&caller, list).await?;
    Ok(present::snapshots_answer(&app, era, &page))
}

fn sort(word: &str) -> Option<SnapshotSort> {
    match word {
        "name" => Some(SnapshotSort::Name),
        "state" => Some(SnapshotSort::State),
        "lastUsedAt" => Some(SnapshotSort::LastUsedAt),
        "createdAt" => Some(SnapshotSort::CreatedAt),
        _ => None,
    }
}

/// A snapshot by id or name.
#[utoipa::path(get, path = "/api/snapshots/{id}", tag = "snapshots", operation_id = "getSnapshot",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Snapshot), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let snapshot = app.control().get_snapshot(&caller, &id).await?;
    Ok(present::snapshot_answer(&app, era, &snapshot))
}
