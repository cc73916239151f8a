//! What proxies and SSH gateways ask that are no part of the server: those of a region by its keys, and the operator's
//! proxy by the one that the server was started with. One of a region is told of sandboxes there only; another sandbox is
//! not there. Runners are told to the administrator too.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{PreviewWarning, RunnerFull, RunnerSnapshot};
use alcove_domain::Port;
use alcove_domain::port::PortError;
use axum::Json;
use axum::extract::State;

use super::runner::{full, snapshot_of};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};
use crate::machine::{OfGate, OfProxy};
use crate::query::Query;

/// Whether a sandbox is public. 404 where it is not, and where there is none.
#[utoipa::path(get, path = "/api/preview/{sandboxIdOrName}/public", tag = "preview", operation_id = "isSandboxPublic",
    params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = bool, content_type = "application/json"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn public(
    State(app): State<App>,
    OfProxy(gate): OfProxy,
    PathOf(id): PathOf<String>,
) -> Result<Json<bool>, ApiError> {
    app.control().preview_is_public(&gate, &id)?;
    Ok(Json(true))
}

/// Whether a preview token is good: for `port`, or, where none is given, for every port of the sandbox. 404 where it is
/// not, and where there is no such sandbox.
#[utoipa::path(get, path = "/api/preview/{sandboxIdOrName}/validate/{authToken}", tag = "preview",
    operation_id = "isValidAuthToken",
    params(("sandboxIdOrName" = String, Path), ("authToken" = String, Path), ("port" = Option<u16>, Query)),
    responses((status = 200, body = bool, content_type = "application/json"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn validate(
    State(app): State<App>,
    OfProxy(gate): OfProxy,
    PathOf((id, token)): PathOf<(String, String)>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<bool>, ApiError> {
    let port = port_of(&mut query)?;
    query.finish()?;
    app.control()
        .preview_token_opens(&gate, &id, &token, port)?;
    Ok(Json(true))
}

/// Whether the caller may see a sandbox, for a proxy that asks with its visitor's own credential. 404 where it may not.
#[utoipa::path(get, path = "/api/preview/{sandboxIdOrName}/access", tag = "preview", operation_id = "hasSandboxAccess",
    params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = bool, content_type = "application/json"), (status = 404, body = ErrorBody)))]
pub(crate) async fn access(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<bool>, ApiError> {
    app.control().get_sandbox(&caller, &id).await?;
    Ok(Json(true))
}

/// The sandbox that a signed address opens this port of; the first part of the path is the token in the address.
#[utoipa::path(get, path = "/api/preview/{sandboxIdOrName}/{port}/sandbox-id", tag = "preview",
    operation_id = "getSandboxIdFromSignedPreviewUrlToken",
    params(("sandboxIdOrName" = String, Path, description = "The signed token"), ("port" = u16, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 400, body = ErrorBody),
        (status = 403, description = "It is none, has ended, or leads elsewhere", body = ErrorBody)))]
pub(crate) async fn sandbox_id(
    State(app): State<App>,
    OfProxy(gate): OfProxy,
    PathOf((label, port)): PathOf<(String, String)>,
) -> Result<String, ApiError> {
    let port = port
        .parse()
        .map_err(|error: PortError| ApiError::invalid(&[error.to_string()]))?;
    let sandbox = app.control().preview_label_sandbox(&gate, &label, port)?;
    Ok(sandbox.id.to_string())
}

/// The key with which URLs of a sandbox's files are signed.
#[utoipa::path(get, path = "/api/preview/{sandboxIdOrName}/signing-key", tag = "preview",
    operation_id = "getSigningKey", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn signing_key(
    State(app): State<App>,
    OfProxy(gate): OfProxy,
    PathOf(id): PathOf<String>,
) -> Result<String, ApiError> {
    // As it is: the Go client takes the quotes of JSON for a part of the key.
    Ok(app.control().preview_signing_key(&gate, &id).await?)
}

/// Whether browsers are warned before they are shown what a sandbox serves. With `port`, the first part of the path may be
/// the token of a signed address.
#[utoipa::path(get, path = "/api/preview/{sandboxIdOrName}/preview-warning", tag = "preview",
    operation_id = "isPreviewWarningEnabled",
    params(("sandboxIdOrName" = String, Path), ("port" = Option<u16>, Query)),
    responses((status = 200, body = PreviewWarning), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn warning(
    State(app): State<App>,
    OfProxy(gate): OfProxy,
    PathOf(place): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<PreviewWarning>, ApiError> {
    let port = port_of(&mut query)?;
    query.finish()?;
    app.control().preview_sandbox(&gate, &place, port)?;
    Ok(Json(PreviewWarning {
        enabled: app.warns_of_previews(),
    }))
}

/// The runner that a sandbox is on.
#[utoipa::path(get, path = "/api/runners/by-sandbox/{sandboxIdOrName}", tag = "runners",
    operation_id = "getRunnerBySandboxId", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = RunnerFull), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn runner_of_sandbox(
    State(app): State<App>,
    OfGate(gate): OfGate,
    PathOf(id): PathOf<String>,
) -> Result<Json<RunnerFull>, ApiError> {
    let view = app.control().runner_of_sandbox(&gate, &id).await?;
    Ok(Json(full(&view)))
}

/// Runners that have an image: by the `ref` that snapshots tell, or by the name that it has there.
#[utoipa::path(get, path = "/api/runners/by-snapshot-ref", tag = "runners", operation_id = "getRunnersBySnapshotRef",
    params(("ref" = String, Query)),
    responses((status = 200, body = Vec<RunnerSnapshot>), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn runners_with_image(
    State(app): State<App>,
    OfGate(gate): OfGate,
    QueryOf(mut query): QueryOf,
) -> Result<Json<Vec<RunnerSnapshot>>, ApiError> {
    let image = query.text("ref");
    if image.is_none() {
        query.refuse("ref must be a string");
    }
    query.finish()?;
    let image = image.unwrap_or_default();
    let found = app.control().runners_with_image(&gate, &image).await?;
    let found = found.iter().map(|runner| snapshot_of(runner, &image));
    Ok(Json(found.collect()))
}

/// A runner, with the type of its region.
#[utoipa::path(get, path = "/api/runners/{id}/full", tag = "runners", operation_id = "getRunnerFullById",
    params(("id" = String, Path)),
    responses((status = 200, body = RunnerFull), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn runner(
    State(app): State<App>,
    OfGate(gate): OfGate,
    PathOf(id): PathOf<String>,
) -> Result<Json<RunnerFull>, ApiError> {
    let view = app.control().runner_for_gate(&gate, &id).await?;
    Ok(Json(full(&view)))
}

fn port_of(query: &mut Query) -> Result<Option<Port>, ApiError> {
    let port = query.text("port").map(|text| text.parse());
    port.transpose()
        .map_err(|error: PortError| ApiError::invalid(&[error.to_string()]))
}
