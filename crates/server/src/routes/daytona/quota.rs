//! Limits of organizations.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateRegionQuota, LimitChange, NO_LIMIT, OrganizationUsageOverview, RegionQuota,
    RegionUsageOverview, UpdateOrganizationQuota, UpdateRegionQuota, UsagePeriod, UsagePeriodPage,
};
use alcove_control::{ListUsage, OwnQuota, QuotaUse};
use alcove_domain::rate_limit::OwnRateLimits;
use alcove_domain::{OrganizationId, Quota, SandboxClass, UsagePeriod as Period};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};

/// What the organization's sandboxes use, exactly, and what they may use.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/usage", tag = "organizations",
    operation_id = "getOrganizationUsageOverview", params(("organizationId" = String, Path)),
    responses((status = 200, body = OrganizationUsageOverview), (status = 404, body = ErrorBody)))]
pub(crate) async fn usage(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<OrganizationUsageOverview>, ApiError> {
    // A key sees no organization but its own; whether another is there is not told.
    if id != caller.organization.as_str() {
        return Err(no_such_organization(&id));
    }
    let uses = app.control().quota_use(&caller).await?;
    let (volume_quota, volumes) = app.control().volume_use(&caller).await?;
    let (snapshots, snapshot_quota) = app.control().snapshot_use(&caller).await?;
    Ok(Json(OrganizationUsageOverview {
        region_usage: uses.iter().map(overview).collect(),
        total_snapshot_quota: snapshot_quota.unwrap_or(NO_LIMIT),
        current_snapshot_usage: snapshots,
        total_volume_quota: volume_quota,
        current_volume_usage: volumes,
    }))
}

/// What the organization's sandboxes counted over time, those that are gone among them: a period for each sandbox and each
/// set of amounts that has a part in the time from `from` to before `to`, the oldest first.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/usage/periods", tag = "organizations",
    operation_id = "listOrganizationUsagePeriods",
    params(("organizationId" = String, Path), ("from" = String, Query), ("to" = String, Query),
        ("sandboxId" = Option<String>, Query), ("page" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = UsagePeriodPage), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn periods(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<UsagePeriodPage>, ApiError> {
    let list = ListUsage {
        range: super::telemetry::range(&mut query),
        sandbox: query.word("sandboxId", |text| text.parse().ok()),
        page: query.integer("page"),
        limit: query.integer("limit"),
    };
    query.finish()?;
    let found = app.control().usage_periods(&caller, &id, list).await?;
    Ok(Json(UsagePeriodPage {
        items: found.items.into_iter().map(period).collect(),
        total: found.total,
        page: found.page,
        total_pages: found.total_pages,
    }))
}

fn period(period: Period) -> UsagePeriod {
    UsagePeriod {
        sandbox_id: period.sandbox.to_string(),
        region_id: period.region,
        sandbox_class: period.class.as_str().to_owned(),
        cpu: period.cpu_cores,
        memory: period.memory_gib,
        disk: period.disk_gib,
        gpu: period.gpu,
        started_at: period.started_at.into(),
        ended_at: period.ended_at.map(Into::into),
    }
}

fn overview(found: &QuotaUse) -> RegionUsageOverview {
    let QuotaUse { quota, usage, .. } = found;
    RegionUsageOverview {
        region_id: found.region.clone(),
        sandbox_class: found.class.as_str().to_owned(),
        total_cpu_quota: quota.total_cpu_cores.unwrap_or(NO_LIMIT),
        current_cpu_usage: usage.cpu_cores,
        total_memory_quota: quota.total_memory_gib.unwrap_or(NO_LIMIT),
        current_memory_usage: usage.memory_gib,
        total_disk_quota: quota.total_disk_gib.unwrap_or(NO_LIMIT),
        current_disk_usage: usage.disk_gib,
        total_gpu_quota: quota.total_gpu.unwrap_or(NO_LIMIT),
        current_gpu_usage: usage.gpu,
        total_sandbox_quota: quota.total_sandboxes.unwrap_or(NO_LIMIT),
        current_sandbox_usage: usage.sandboxes,
        max_cpu_per_sandbox: quota.sandbox_cpu_cores,
        max_memory_per_sandbox: quota.sandbox_memory_gib,
        max_disk_per_sandbox: quota.sandbox_disk_gib,
        max_disk_per_non_ephemeral_sandbox: quota.sandbox_lasting_disk_gib,
        max_cpu_per_gpu: None,
        max_memory_per_gpu: None,
        max_disk_per_gpu: None,
    }
}

/// The limits of the organization that a sandbox counts for, in its region and for its class.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/region-quota", tag = "sandbox",
    operation_id = "getRegionQuotaBySandboxId", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = RegionQuota), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_sandbox(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<RegionQuota>, ApiError> {
    let quota = app.control().quota_of_sandbox(&caller, &id).await?;
    Ok(Json(region_quota(&quota)))
}

/// Sets limits of an organization, as the administrator of the server. What runs stays.
#[utoipa::path(patch, path = "/api/admin/organizations/{organizationId}/quota/{regionId}", tag = "admin",
    operation_id = "adminUpdateOrganizationRegionQuota",
    params(("organizationId" = String, Path), ("regionId" = String, Path)),
    request_body = UpdateRegionQuota,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, region)): PathOf<(String, String)>,
    BodyOf(body): BodyOf<UpdateRegionQuota>,
) -> Result<StatusCode, ApiError> {
    let class = class_of(&body)?;
    let organization: OrganizationId = id.parse().map_err(|_| no_such_organization(&id))?;
    app.control()
        .set_quota(&caller, &organization, &region, class, |quota| {
            change(quota, &body);
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The same under the name that clients from 0.121 to 0.210 have for it.
#[utoipa::path(patch, path = "/api/organizations/{organizationId}/quota/{regionId}", tag = "organizations",
    operation_id = "updateOrganizationRegionQuota",
    params(("organizationId" = String, Path), ("regionId" = String, Path)),
    request_body = UpdateRegionQuota,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn update_older(
    app: State<App>,
    caller: Authenticated,
    path: PathOf<(String, String)>,
    body: BodyOf<UpdateRegionQuota>,
) -> Result<StatusCode, ApiError> {
    update(app, caller, path, body).await
}

/// Gives an organization limits of its own, as the administrator of the server. What runs stays.
#[utoipa::path(post, path = "/api/admin/organizations/{organizationId}/quota/{regionId}", tag = "admin",
    operation_id = "adminCreateOrganizationRegionQuota",
    params(("organizationId" = String, Path), ("regionId" = String, Path)),
    request_body = CreateRegionQuota,
    responses((status = 201, body = RegionQuota), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "It has limits of its own already", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, region)): PathOf<(String, String)>,
    BodyOf(CreateRegionQuota(body)): BodyOf<CreateRegionQuota>,
) -> Result<(StatusCode, Json<RegionQuota>), ApiError> {
    let class = class_of(&body)?;
    let organization: OrganizationId = id.parse().map_err(|_| no_such_organization(&id))?;
    let own = app
        .control()
        .create_quota(&caller, &organization, &region, class, |quota| {
            change(quota, &body);
        })
        .await?;
    Ok((StatusCode::CREATED, Json(region_quota(&own))))
}

/// An organization's own limits, for the administrator of the server.
#[utoipa::path(get, path = "/api/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}",
    tag = "admin", operation_id = "adminGetOrganizationRegionQuota",
    params(("organizationId" = String, Path), ("regionId" = String, Path), ("sandboxClass" = String, Path)),
    responses((status = 200, body = RegionQuota), (status = 403, body = ErrorBody),
        (status = 404, description = "It has none of its own", body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, region, class)): PathOf<(String, String, String)>,
) -> Result<Json<RegionQuota>, ApiError> {
    let class = parse_class(&class)?;
    let organization: OrganizationId = id.parse().map_err(|_| no_such_organization(&id))?;
    let own = app
        .control()
        .get_quota(&caller, &organization, &region, class)
        .await?;
    Ok(Json(region_quota(&own)))
}

/// Takes an organization's own limits away, so that the server's hold. What runs stays.
#[utoipa::path(delete, path = "/api/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}",
    tag = "admin", operation_id = "adminDeleteOrganizationRegionQuota",
    params(("organizationId" = String, Path), ("regionId" = String, Path), ("sandboxClass" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody),
        (status = 404, description = "It has none of its own", body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, region, class)): PathOf<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let class = parse_class(&class)?;
    let organization: OrganizationId = id.parse().map_err(|_| no_such_organization(&id))?;
    app.control()
        .delete_quota(&caller, &organization, &region, class)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The class that a body is about. What it says of GPUs, which no host here has, is refused.
fn class_of(body: &UpdateRegionQuota) -> Result<SandboxClass, ApiError> {
    if let Some(field) = body.gpu_fields.first() {
        return Err(ApiError::unsupported(&format!(
            "{field} is not supported by this server"
        )));
    }
    body.sandbox_class
        .as_deref()
        .map_or(Ok(SandboxClass::Container), parse_class)
}

fn parse_class(word: &str) -> Result<SandboxClass, ApiError> {
    SandboxClass::parse(word)
        .ok_or_else(|| ApiError::invalid(&[format!("sandboxClass does not take {word:?}")]))
}

fn region_quota(own: &OwnQuota) -> RegionQuota {
    let OwnQuota { quota, .. } = own;
    RegionQuota {
        organization_id: own.organization.to_string(),
        region_id: own.region.clone(),
        sandbox_class: own.class.as_str().to_owned(),
        total_cpu_quota: quota.total_cpu_cores.unwrap_or(NO_LIMIT),
        total_memory_quota: quota.total_memory_gib.unwrap_or(NO_LIMIT),
        total_disk_quota: quota.total_disk_gib.unwrap_or(NO_LIMIT),
        total_gpu_quota: quota.total_gpu.unwrap_or(NO_LIMIT),
        total_sandbox_quota: quota.total_sandboxes.unwrap_or(NO_LIMIT),
        max_cpu_per_sandbox: quota.sandbox_cpu_cores,
        max_memory_per_sandbox: quota.sandbox_memory_gib,
        max_disk_per_sandbox: quota.sandbox_disk_gib,
        max_disk_per_non_ephemeral_sandbox: quota.sandbox_lasting_disk_gib,
        max_cpu_per_gpu: None,
        max_memory_per_gpu: None,
        max_disk_per_gpu: None,
        max_sandbox_lifespan: None,
        max_cpu_per_gpu_sandbox: None,
        max_memory_per_gpu_sandbox: None,
        max_disk_per_gpu_sandbox: None,
    }
}

/// Sets limits of a whole organization, as the administrator of the server. What is there stays.
#[utoipa::path(patch, path = "/api/organizations/{organizationId}/quota", tag = "organizations",
    operation_id = "updateOrganizationQuota", params(("organizationId" = String, Path)),
    request_body = UpdateOrganizationQuota,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn update_organization(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateOrganizationQuota>,
) -> Result<StatusCode, ApiError> {
    if let Some(field) = body.other_fields.first() {
        return Err(ApiError::unsupported(&format!(
            "{field} is not supported by this server for a whole organization"
        )));
    }
    let organization: OrganizationId = id.parse().map_err(|_| no_such_organization(&id))?;
    let rates = [
        (
            body.authenticated_rate_limit,
            body.authenticated_rate_limit_ttl_seconds,
        ),
        (
            body.sandbox_create_rate_limit,
            body.sandbox_create_rate_limit_ttl_seconds,
        ),
        (
            body.sandbox_lifecycle_rate_limit,
            body.sandbox_lifecycle_rate_limit_ttl_seconds,
        ),
    ];
    let keeps = (LimitChange::Keep, LimitChange::Keep);
    if rates.iter().any(|change| *change != keeps) {
        let change = move |own: &mut OwnRateLimits| {
            for (own, (count, seconds)) in own.iter_mut().zip(rates) {
                apply(&mut own.count, count);
                apply(&mut own.seconds, seconds);
            }
        };
        app.control()
            .set_rate_limits(&caller, &organization, change)
            .await?;
    }
    let change = |quota: &mut Option<u64>| apply(quota, body.volume_quota);
    app.control()
        .set_volume_quota(&caller, &organization, change)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn apply<T: From<u32>>(limit: &mut Option<T>, change: LimitChange) {
    match change {
        LimitChange::Keep => {}
        LimitChange::Remove => *limit = None,
        LimitChange::Set(number) => *limit = Some(number.into()),
    }
}

fn change(quota: &mut Quota, body: &UpdateRegionQuota) {
    apply(&mut quota.total_sandboxes, body.total_sandbox_quota);
    apply(&mut quota.total_cpu_cores, body.total_cpu_quota);
    apply(&mut quota.total_memory_gib, body.total_memory_quota);
    apply(&mut quota.total_disk_gib, body.total_disk_quota);
    apply(&mut quota.total_gpu, body.total_gpu_quota);
    apply(&mut quota.sandbox_cpu_cores, body.max_cpu_per_sandbox);
    apply(&mut quota.sandbox_memory_gib, body.max_memory_per_sandbox);
    apply(&mut quota.sandbox_disk_gib, body.max_disk_per_sandbox);
    apply(
        &mut quota.sandbox_lasting_disk_gib,
        body.max_disk_per_non_ephemeral_sandbox,
    );
}

pub(super) fn no_such_organization(id: &str) -> ApiError {
    ApiError::not_found(&format!("Organization with ID {id} not found"))
}
