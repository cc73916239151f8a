//! Hosts that sandboxes run on.
//!
//! The first is part of the server, and the administrator's. Others are of an organization, in its own regions.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    self as api, AdminCreateRunner, CreateRunner, CreateRunnerResponse, RegionType, Runner,
    RunnerCapabilities, RunnerFull, RunnerHealthcheck, RunnerSnapshot, RunnerState,
    UpdateRunnerDraining, UpdateRunnerScheduling,
};
use alcove_control::{CreatedRunner, RunnerView};
use alcove_domain::runner::API_VERSION;
use alcove_domain::{Capacity, Heartbeat, Load, NewRunner, RunnerAddress};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};
use crate::machine::OwnRunner;

/// Kinds of sandboxes that runners are for.
const CLASS: &str = "container";

/// Runners of the organization, the oldest first; the administrator is told of the server's own too.
#[utoipa::path(get, path = "/api/runners", tag = "runners", operation_id = "listRunners",
    params(("regionId" = Option<String>, Query)),
    responses((status = 200, body = Vec<Runner>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<Vec<Runner>>, ApiError> {
    let region = query.text("regionId");
    query.finish()?;
    let found = app.control().list_runners(&caller, region.as_deref()).await;
    Ok(Json(found?.iter().map(shown).collect()))
}

/// Registers a runner in a region of the organization. It takes sandboxes once it has come, with the key of the answer.
#[utoipa::path(post, path = "/api/runners", tag = "runners", operation_id = "createRunner",
    request_body = CreateRunner,
    responses((status = 201, body = CreateRunnerResponse),
        (status = 400, description = "Not a region of the organization's own, or too many", body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, description = "No such region", body = ErrorBody),
        (status = 409, description = "The region has one of this name", body = ErrorBody),
        (status = 422, description = "Not for containers", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateRunner>,
) -> Result<(StatusCode, Json<CreateRunnerResponse>), ApiError> {
    let request = NewRunner {
        region: body.region_id,
        name: body.name,
        tags: body.tags.unwrap_or_default(),
        class: body.sandbox_class,
        ..NewRunner::default()
    };
    let made = app.control().create_runner(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(created(made))))
}

/// One runner.
#[utoipa::path(get, path = "/api/runners/{id}", tag = "runners", operation_id = "getRunnerById",
    params(("id" = String, Path)),
    responses((status = 200, body = Runner), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Runner>, ApiError> {
    Ok(Json(shown(&app.control().get_runner(&caller, &id).await?)))
}

/// Closes a runner to new sandboxes, or opens it. What it has goes on, and can be started and stopped.
#[utoipa::path(patch, path = "/api/runners/{id}/scheduling", tag = "runners", operation_id = "updateRunnerScheduling",
    params(("id" = String, Path)), request_body = UpdateRunnerScheduling,
    responses((status = 200, body = Runner), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn scheduling(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateRunnerScheduling>,
) -> Result<Json<Runner>, ApiError> {
    let changed = app
        .control()
        .set_unschedulable(&caller, &id, body.unschedulable);
    Ok(Json(shown(&changed.await?)))
}

/// Begins to empty a runner, or takes it back. It takes and starts nothing any more; what is stopped goes into the archive,
/// and what runs is stopped where the operator says so. Once it is empty its state is `decommissioned`.
#[utoipa::path(patch, path = "/api/runners/{id}/draining", tag = "runners", operation_id = "updateRunnerDraining",
    params(("id" = String, Path)), request_body = UpdateRunnerDraining,
    responses((status = 200, body = Runner), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn draining(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateRunnerDraining>,
) -> Result<Json<Runner>, ApiError> {
    let changed = app.control().set_draining(&caller, &id, body.draining);
    Ok(Json(shown(&changed.await?)))
}

/// Deletes a registered runner. It must be closed to new sandboxes, or, with `force`, must not be ready.
#[utoipa::path(delete, path = "/api/runners/{id}", tag = "runners", operation_id = "deleteRunner",
    params(("id" = String, Path), ("force" = Option<bool>, Query)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<StatusCode, ApiError> {
    let force = query.boolean("force").unwrap_or_default();
    query.finish()?;
    app.control().delete_runner(&caller, &id, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All runners of the server, as its administrator.
#[utoipa::path(get, path = "/api/admin/runners", tag = "admin", operation_id = "adminListRunners",
    params(("regionId" = Option<String>, Query)),
    responses((status = 200, body = Vec<RunnerFull>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<Vec<RunnerFull>>, ApiError> {
    let region = query.text("regionId");
    query.finish()?;
    let found = app
        .control()
        .list_all_runners(&caller, region.as_deref())
        .await?;
    Ok(Json(found.iter().map(full).collect()))
}

/// Registers a runner in any region, with a key that the administrator brings.
#[utoipa::path(post, path = "/api/admin/runners", tag = "admin", operation_id = "adminCreateRunner",
    request_body = AdminCreateRunner,
    responses((status = 201, body = CreateRunnerResponse), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, description = "No such region", body = ErrorBody),
        (status = 409, description = "The name or the key is taken", body = ErrorBody),
        (status = 422, description = "A runner that does not ask for its work", body = ErrorBody)))]
pub(crate) async fn create_any(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<AdminCreateRunner>,
) -> Result<(StatusCode, Json<CreateRunnerResponse>), ApiError> {
    let request = NewRunner {
        region: body.region_id,
        name: body.name,
        tags: body.tags.unwrap_or_default(),
        class: None,
        key: Some(body.api_key),
        api_version: Some(body.api_version),
        address: RunnerAddress {
            domain: body.domain,
            api_url: body.api_url,
            proxy_url: body.proxy_url,
        },
        capacity: Capacity {
            cpu_millis: whole(body.cpu.unwrap_or_default() * 1000.0),
            memory_mib: whole(body.memory_gib.unwrap_or_default() * 1024.0),
            disk_mib: whole(body.disk_gib.unwrap_or_default() * 1024.0),
            gpu: 0,
        },
    };
    let made = app.control().create_any_runner(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(created(made))))
}

/// Any runner, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/runners/{id}", tag = "admin", operation_id = "adminGetRunnerById",
    params(("id" = String, Path)),
    responses((status = 200, body = RunnerFull), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn get_any(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<RunnerFull>, ApiError> {
    Ok(Json(full(
        &app.control().get_any_runner(&caller, &id).await?,
    )))
}

/// Deletes any registered runner, as the administrator of the server.
#[utoipa::path(delete, path = "/api/admin/runners/{id}", tag = "admin", operation_id = "adminDeleteRunner",
    params(("id" = String, Path), ("force" = Option<bool>, Query)),
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn delete_any(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<StatusCode, ApiError> {
    let force = query.boolean("force").unwrap_or_default();
    query.finish()?;
    app.control().delete_any_runner(&caller, &id, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Closes any runner to new sandboxes, or opens it, as the administrator of the server.
#[utoipa::path(patch, path = "/api/admin/runners/{id}/scheduling", tag = "admin",
    operation_id = "adminUpdateRunnerScheduling", params(("id" = String, Path)),
    request_body = UpdateRunnerScheduling,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn scheduling_of_any(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateRunnerScheduling>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .set_any_unschedulable(&caller, &id, body.unschedulable)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether no snapshot and no sandbox is of an image any more, as the administrator of the server.
#[utoipa::path(get, path = "/api/admin/snapshots/can-cleanup-image", tag = "admin",
    operation_id = "adminCanCleanupImage", params(("imageName" = String, Query)),
    responses((status = 200, body = bool, content_type = "application/json"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn can_clean_up_image(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<bool>, ApiError> {
    let image = query.text("imageName");
    if image.is_none() {
        query.refuse("imageName must be a string");
    }
    query.finish()?;
    let image = image.unwrap_or_default();
    Ok(Json(
        app.control().can_clean_up_image(&caller, &image).await?,
    ))
}

/// The same under the name that clients before 0.164 have for it.
#[utoipa::path(get, path = "/api/snapshots/can-cleanup-image", tag = "snapshots",
    operation_id = "canCleanupImage", params(("imageName" = String, Query)),
    responses((status = 200, body = bool, content_type = "application/json"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn can_clean_up_image_older(
    app: State<App>,
    caller: Authenticated,
    query: QueryOf,
) -> Result<Json<bool>, ApiError> {
    can_clean_up_image(app, caller, query).await
}

/// The runner that asks.
#[utoipa::path(get, path = "/api/runners/me", tag = "runners", operation_id = "getInfoForAuthenticatedRunner",
    responses((status = 200, body = RunnerFull), (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn own(
    State(app): State<App>,
    OwnRunner(id): OwnRunner,
) -> Result<Json<RunnerFull>, ApiError> {
    Ok(Json(full(&app.control().view_own_runner(&id).await?)))
}

/// Images that sandboxes on the runner that asks are of, by digest.
#[utoipa::path(get, path = "/api/runners/me/snapshots", tag = "runners",
    operation_id = "getSnapshotRefsForAuthenticatedRunner",
    responses((status = 200, body = Vec<String>), (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn own_snapshots(
    State(app): State<App>,
    OwnRunner(id): OwnRunner,
) -> Json<Vec<String>> {
    Json(app.control().images_of_runner(&id))
}

/// A runner says that it is there, and how it is. One that was not heard of for a minute is `unresponsive`.
#[utoipa::path(post, path = "/api/runners/healthcheck", tag = "runners", operation_id = "runnerHealthcheck",
    request_body = RunnerHealthcheck,
    responses((status = 200), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn healthcheck(
    State(app): State<App>,
    OwnRunner(id): OwnRunner,
    BodyOf(body): BodyOf<RunnerHealthcheck>,
) -> Result<(), ApiError> {
    let sick = body.service_health.iter().flatten();
    let sick = sick.filter(|service| !service.healthy).map(|service| {
        let why = service.error_reason.as_deref().unwrap_or("not healthy");
        format!("{}: {why}", service.service_name)
    });
    let sick: Vec<String> = sick.collect();
    let beat = Heartbeat {
        app_version: body.app_version,
        address: RunnerAddress {
            domain: body.domain,
            api_url: body.api_url,
            proxy_url: body.proxy_url,
        },
        report: body.metrics.map(|metrics| report(&metrics)),
        gpu_type: body.gpu_type,
        capabilities: None,
        fault: (!sick.is_empty()).then(|| sick.join(", ")),
    };
    app.control().take_heartbeat(&id, &beat).await?;
    Ok(())
}

fn report(metrics: &api::RunnerHealthMetrics) -> (Capacity, Load) {
    let capacity = Capacity {
        cpu_millis: whole(metrics.cpu * 1000.0),
        memory_mib: whole(metrics.memory_gib * 1024.0),
        disk_mib: whole(metrics.disk_gib * 1024.0),
        gpu: u32::try_from(whole(metrics.gpu.unwrap_or_default())).unwrap_or(u32::MAX),
    };
    let load = Load {
        load_average: metrics.current_cpu_load_average,
        cpu_percent: metrics.current_cpu_usage_percentage,
        memory_percent: metrics.current_memory_usage_percentage,
        disk_percent: metrics.current_disk_usage_percentage,
        allocated_cpu: metrics.current_allocated_cpu,
        allocated_memory_gib: metrics.current_allocated_memory_gib,
        allocated_disk_gib: metrics.current_allocated_disk_gib,
        snapshots: whole(metrics.current_snapshot_count),
        started_sandboxes: whole(metrics.current_started_sandboxes),
    };
    (capacity, load)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held between zero and what a database has room for"
)]
fn whole(number: f64) -> u64 {
    number.round().clamp(0.0, 1e15) as u64
}

fn created(made: CreatedRunner) -> CreateRunnerResponse {
    CreateRunnerResponse {
        id: made.runner.id.to_string(),
        api_key: made.key,
    }
}

/// A runner as people see it.
fn shown(view: &RunnerView) -> Runner {
    let runner = &view.runner;
    let load = view.load;
    #[expect(clippy::cast_precision_loss, reason = "sizes of a host")]
    let part = |number: u64, of: f64| number as f64 / of;
    Runner {
        id: runner.id.to_string(),
        domain: runner.address.domain.clone().unwrap_or_default(),
        api_url: runner.address.api_url.clone().unwrap_or_default(),
        proxy_url: runner.address.proxy_url.clone().unwrap_or_default(),
        cpu: part(runner.capacity.cpu_millis, 1000.0),
        memory: part(runner.capacity.memory_mib, 1024.0),
        disk: part(runner.capacity.disk_mib, 1024.0),
        gpu: runner.capacity.gpu,
        gpu_type: runner.gpu_type.clone().unwrap_or_default(),
        sandbox_class: CLASS.to_owned(),
        class: "small".to_owned(),
        current_cpu_usage_percentage: load.map(|load| load.cpu_percent),
        current_memory_usage_percentage: load.map(|load| load.memory_percent),
        current_disk_usage_percentage: load.map(|load| load.disk_percent),
        current_allocated_cpu: load.map(|load| load.allocated_cpu),
        current_allocated_memory_gib: load.map(|load| load.allocated_memory_gib),
        current_allocated_disk_gib: load.map(|load| load.allocated_disk_gib),
        current_snapshot_count: load.map(|load| load.snapshots),
        current_started_sandboxes: load.map(|load| load.started_sandboxes),
        availability_score: view.score,
        region: runner.region.clone(),
        name: runner.name.clone(),
        state: RunnerState::from_word(view.state.as_str()).unwrap_or(RunnerState::Disabled),
        last_checked: runner.heard_at.map(Into::into),
        unschedulable: runner.is_unschedulable,
        draining: runner.is_draining,
        tags: runner.tags.clone(),
        created_at: runner.created_at.into(),
        updated_at: runner.updated_at.into(),
        version: API_VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        runner_class: CLASS.to_owned(),
        app_version: runner.app_version.clone(),
        error_reason: runner.fault.clone(),
        capabilities: runner.capabilities.as_ref().map(|said| RunnerCapabilities {
            architecture: said.architecture.clone(),
            can: said.can.iter().map(|it| it.as_str().to_owned()).collect(),
        }),
    }
}

pub(super) fn full(view: &RunnerView) -> RunnerFull {
    let region_type = match view.runner.organization_id {
        Some(_) => RegionType::Custom,
        None => RegionType::Shared,
    };
    RunnerFull::new(shown(view), region_type)
}

/// That a runner has an image.
pub(super) fn snapshot_of(runner: &alcove_domain::Runner, image: &str) -> RunnerSnapshot {
    RunnerSnapshot {
        // What a runner has of an image is there once.
        runner_snapshot_id: format!("{}:{image}", runner.id),
        runner_id: runner.id.to_string(),
        runner_domain: runner.address.domain.clone(),
    }
}
