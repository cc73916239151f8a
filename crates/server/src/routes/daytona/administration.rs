//! What the administrator of the server does with what is of any organization. Lists, work and the deletion are paths of our
//! own.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    AdministeredOrganization, AdministeredOrganizations, AdministeredSandboxes, Sandbox,
    SetSnapshotGeneral, Snapshot, Work,
};
use alcove_control::{self as control, ListAllSandboxes, ListOrganizations, WorkKind};
use alcove_domain::{self as domain, OrganizationState, SandboxState};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf, QueryOf};
use crate::present;

/// All organizations, newest first, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/organizations", tag = "admin", operation_id = "adminListOrganizations",
    params(("state" = Option<String>, Query, description = "`active`, `suspended` or `deleting`"),
        ("limit" = Option<i64>, Query, description = "1 to 200; 100 if absent"),
        ("cursor" = Option<String>, Query, description = "From the page before")),
    responses((status = 200, body = AdministeredOrganizations), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn organizations(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<AdministeredOrganizations>, ApiError> {
    let list = ListOrganizations {
        state: query.word("state", OrganizationState::parse),
        limit: query.integer("limit"),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    let page = app.control().list_all_organizations(&caller, list).await?;
    let items = page.items.into_iter();
    Ok(Json(AdministeredOrganizations {
        items: items.map(|it| organization(&app, it)).collect(),
        next_cursor: page.next_cursor,
    }))
}

fn organization(app: &App, found: domain::Organization) -> AdministeredOrganization {
    let state = app.control().organization_state(&found);
    let suspension = found
        .suspension
        .filter(|_| state == OrganizationState::Suspended);
    AdministeredOrganization {
        id: found.id.to_string(),
        name: found.name,
        created_by: found.created_by.to_string(),
        personal: found.is_personal,
        state: state.as_str().to_owned(),
        suspended_until: suspension.as_ref().and_then(|it| it.until).map(Into::into),
        suspension_reason: suspension.and_then(|it| it.reason),
        created_at: found.created_at.into(),
    }
}

/// Sandboxes of all organizations, newest first, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/sandboxes", tag = "admin", operation_id = "adminListSandboxes",
    params(("states" = Option<Vec<String>>, Query, description = "Any where none is named"),
        ("organizationId" = Option<String>, Query),
        ("limit" = Option<i64>, Query, description = "1 to 200; 100 if absent"),
        ("cursor" = Option<String>, Query, description = "From the page before")),
    responses((status = 200, body = AdministeredSandboxes), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn sandboxes(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let list = ListAllSandboxes {
        states: query.words("states", SandboxState::parse),
        organization: query.text("organizationId"),
        limit: query.integer("limit"),
        cursor: query.text("cursor"),
    };
    query.finish()?;
    let page = app.control().list_all_sandboxes(&caller, list).await?;
    let page = AdministeredSandboxes {
        items: page
            .items
            .iter()
            .map(|sandbox| present::sandbox(&app, sandbox))
            .collect(),
        next_cursor: page.next_cursor,
    };
    Ok(present::sandboxes_answer(era, &page))
}

/// Starts any organization's sandbox anew that ended in an error, as the administrator of the server.
#[utoipa::path(post, path = "/api/admin/sandbox/{sandboxId}/recover", tag = "admin",
    operation_id = "adminRecoverSandbox", params(("sandboxId" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn recover(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let found = app.control().recover_any_sandbox(&caller, &id).await?;
    Ok(present::shown_sandbox_answer(
        era,
        present::sandbox(&app, &found),
    ))
}

/// Deletes any organization's sandbox, whatever it is about, as the administrator of the server. It goes in the background.
#[utoipa::path(post, path = "/api/admin/sandbox/{sandboxId}/force-destroy", tag = "admin",
    operation_id = "adminDestroySandbox", params(("sandboxId" = String, Path)),
    responses((status = 200, body = Sandbox), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn destroy(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let found = app.control().destroy_any_sandbox(&caller, &id).await?;
    Ok(present::shown_sandbox_answer(
        era,
        present::sandbox(&app, &found),
    ))
}

/// Lets every organization see and use a snapshot, or its own alone again, as the administrator of the server. While it is
/// general, nobody else changes or deletes it.
#[utoipa::path(patch, path = "/api/admin/snapshots/{id}/general", tag = "admin",
    operation_id = "adminSetSnapshotGeneralStatus", params(("id" = String, Path)),
    request_body = SetSnapshotGeneral,
    responses((status = 200, body = Snapshot), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, description = "Another general snapshot has the name", body = ErrorBody),
        (status = 422, description = "It is an image of the server", body = ErrorBody)))]
pub(crate) async fn set_general(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<SetSnapshotGeneral>,
) -> Result<Response, ApiError> {
    let control = app.control();
    let snapshot = control
        .set_snapshot_general(&caller, &id, body.general)
        .await?;
    Ok(present::snapshot_answer(&app, era, &snapshot))
}

/// The same under the name that clients before 0.164 have for it.
#[utoipa::path(patch, path = "/api/snapshots/{id}/general", tag = "snapshots",
    operation_id = "setSnapshotGeneralStatus", params(("id" = String, Path)),
    request_body = SetSnapshotGeneral,
    responses((status = 200, body = Snapshot), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn set_general_older(
    app: State<App>,
    caller: Authenticated,
    era: ClientEra,
    id: PathOf<String>,
    body: BodyOf<SetSnapshotGeneral>,
) -> Result<Response, ApiError> {
    set_general(app, caller, era, id, body).await
}

/// Builds and pulls that are under way or wait for their turn, the oldest first, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/work", tag = "admin", operation_id = "adminListWork",
    responses((status = 200, body = Vec<Work>), (status = 403, body = ErrorBody)))]
pub(crate) async fn work(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<Work>>, ApiError> {
    let works = app.control().list_work(&caller).await?;
    Ok(Json(works.into_iter().map(told).collect()))
}

fn told(work: control::Work) -> Work {
    Work {
        id: work.id,
        kind: match work.kind {
            WorkKind::Build => "build",
            WorkKind::Pull => "pull",
        }
        .to_owned(),
        organization_id: work.organization.map(|id| id.to_string()),
        snapshot_id: work.snapshot.to_string(),
        snapshot_name: work.snapshot_name,
        state: work.state.as_str().to_owned(),
        since: work.since.into(),
    }
}

/// Ends a build or a pull, as the administrator of the server. Its snapshot is as if it had failed.
#[utoipa::path(post, path = "/api/admin/work/{workId}/cancel", tag = "admin", operation_id = "adminCancelWork",
    params(("workId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody),
        (status = 404, description = "It is over", body = ErrorBody)))]
pub(crate) async fn cancel_work(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().cancel_work(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
