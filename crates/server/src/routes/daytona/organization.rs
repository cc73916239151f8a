//! Organizations: made, suspended, left; their roles.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::era::Era;
use alcove_api_types::daytona::{
    AvailableSandboxClass, CreateOrganization, CreateOrganizationRole, Organization,
    OrganizationLimitedEgress, OrganizationRole, OrganizationSuspension,
    UpdateOrganizationDefaultRegion, UpdateOrganizationRole,
};
use alcove_domain::{Role, SandboxClass};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf};
use crate::routes::daytona::api_key::words;
use crate::routes::daytona::quota::no_such_organization;

/// The organizations of who has signed in; for a key the one that it belongs to, which is the only one that it can see.
#[utoipa::path(get, path = "/api/organizations", tag = "organizations",
    operation_id = "listOrganizations",
    responses((status = 200, body = Vec<Organization>), (status = 401, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<Organization>>, ApiError> {
    let organizations = app.control().list_organizations(&caller).await?;
    let organizations = organizations.into_iter();
    Ok(Json(organizations.map(|it| shown(&app, it)).collect()))
}

/// Makes an organization that the caller owns.
#[utoipa::path(post, path = "/api/organizations", tag = "organizations",
    operation_id = "createOrganization", request_body = CreateOrganization,
    responses((status = 201, body = Organization), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 404, description = "There is no such region", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateOrganization>,
) -> Result<(StatusCode, Json<Organization>), ApiError> {
    let region = body.default_region_id.as_deref();
    let made = app
        .control()
        .create_organization(&caller, body.name, region)
        .await?;
    Ok((StatusCode::CREATED, Json(shown(&app, made))))
}

/// The caller's organization. Any other is not found.
#[utoipa::path(get, path = "/api/organizations/{organizationId}", tag = "organizations",
    operation_id = "getOrganization", params(("organizationId" = String, Path)),
    responses((status = 200, body = Organization), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Organization>, ApiError> {
    let organization = app.control().get_organization(&caller, &id).await?;
    Ok(Json(shown(&app, organization)))
}

/// Gives an organization up, as its owner: its members and keys end at once, and what it has goes in the background.
#[utoipa::path(delete, path = "/api/organizations/{organizationId}", tag = "organizations",
    operation_id = "deleteOrganization", params(("organizationId" = String, Path)),
    responses((status = 204), (status = 403, description = "It is a personal one", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_organization(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The organization of a sandbox that the caller can see.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/organization", tag = "sandbox",
    operation_id = "getOrganizationBySandboxId", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Organization), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_sandbox(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(sandbox): PathOf<String>,
) -> Result<Json<Organization>, ApiError> {
    let organization = app.control().organization_of(&caller, &sandbox).await?;
    Ok(Json(shown(&app, organization)))
}

/// The same under the name that clients from 0.101 to 0.163 have for it.
#[utoipa::path(get, path = "/api/organizations/by-sandbox-id/{sandboxIdOrName}", tag = "organizations",
    operation_id = "getOrganizationBySandboxIdOlder", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Organization), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_sandbox_older(
    app: State<App>,
    caller: Authenticated,
    sandbox: PathOf<String>,
) -> Result<Json<Organization>, ApiError> {
    of_sandbox(app, caller, sandbox).await
}

/// Sets the region where there is none yet. Organizations here have one from the start.
#[utoipa::path(patch, path = "/api/organizations/{organizationId}/default-region", tag = "organizations",
    operation_id = "setOrganizationDefaultRegion", params(("organizationId" = String, Path)),
    request_body = UpdateOrganizationDefaultRegion,
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "There is one already", body = ErrorBody)))]
pub(crate) async fn set_default_region(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateOrganizationDefaultRegion>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .set_default_region(&caller, &id, &body.default_region_id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What kinds of sandboxes the caller's organization can make, and where.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/available-sandbox-classes",
    tag = "organizations", operation_id = "listAvailableSandboxClasses",
    params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<AvailableSandboxClass>), (status = 404, body = ErrorBody)))]
pub(crate) async fn classes(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<AvailableSandboxClass>>, ApiError> {
    app.control().enter(&caller, &id)?;
    Ok(Json(vec![AvailableSandboxClass {
        region_id: app.control().settings().region.id.clone(),
        sandbox_class: SandboxClass::Container.as_str().to_owned(),
        gpu_available: false,
    }]))
}

/// Ends the caller's membership, with the caller's keys there.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/leave", tag = "organizations",
    operation_id = "leaveOrganization", params(("organizationId" = String, Path)),
    responses((status = 204), (status = 403, description = "The caller is the last owner", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn leave(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().leave_organization(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Suspends an organization, as the administrator of the server: it makes and starts nothing, and what runs is stopped
/// after a while.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/suspend", tag = "organizations",
    operation_id = "suspendOrganization", params(("organizationId" = String, Path)),
    request_body = OrganizationSuspension,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn suspend(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<OrganizationSuspension>,
) -> Result<StatusCode, ApiError> {
    let until = body.until.map(|until| until.0);
    let grace_hours = body.suspension_cleanup_grace_period_hours;
    app.control()
        .suspend_organization(&caller, &id, body.reason, until, grace_hours)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts a suspension, as the administrator of the server.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/unsuspend", tag = "organizations",
    operation_id = "unsuspendOrganization", params(("organizationId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn unsuspend(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().unsuspend_organization(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says whether what an organization's sandboxes send is marked for the host to limit, as the administrator of the
/// server. Takes effect for a sandbox when it is made or started.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/sandbox-default-limited-network-egress",
    tag = "organizations", operation_id = "updateSandboxDefaultLimitedNetworkEgress",
    params(("organizationId" = String, Path)), request_body = OrganizationLimitedEgress,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn limit_egress(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<OrganizationLimitedEgress>,
) -> Result<StatusCode, ApiError> {
    let organization = id.parse().map_err(|_| no_such_organization(&id))?;
    app.control()
        .limit_egress(
            &caller,
            &organization,
            body.sandbox_default_limited_network_egress,
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The roles that members of the caller's organization can be given.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/roles", tag = "organizations",
    operation_id = "listOrganizationRoles", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<OrganizationRole>), (status = 404, body = ErrorBody)))]
pub(crate) async fn roles(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<OrganizationRole>>, ApiError> {
    let roles = app.control().list_roles(&caller, &id).await?;
    Ok(Json(
        roles.into_iter().map(|role| role_of(era, role)).collect(),
    ))
}

/// Adds a role, as the owner of the organization.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/roles", tag = "organizations",
    operation_id = "createOrganizationRole", params(("organizationId" = String, Path)),
    request_body = CreateOrganizationRole,
    responses((status = 201, body = OrganizationRole), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn create_role(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<CreateOrganizationRole>,
) -> Result<(StatusCode, Json<OrganizationRole>), ApiError> {
    let made = app
        .control()
        .create_role(&caller, &id, body.name, body.description, &body.permissions)
        .await?;
    Ok((StatusCode::CREATED, Json(role_of(era, made))))
}

/// Changes a role, as the owner of the organization. Its members have the new rights at once.
#[utoipa::path(put, path = "/api/organizations/{organizationId}/roles/{roleId}", tag = "organizations",
    operation_id = "updateOrganizationRole",
    params(("organizationId" = String, Path), ("roleId" = String, Path)),
    request_body = UpdateOrganizationRole,
    responses((status = 200, body = OrganizationRole), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
pub(crate) async fn update_role(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf((id, role)): PathOf<(String, String)>,
    BodyOf(UpdateOrganizationRole(body)): BodyOf<UpdateOrganizationRole>,
) -> Result<Json<OrganizationRole>, ApiError> {
    let (name, description) = (body.name, body.description);
    let written = app
        .control()
        .update_role(&caller, &id, &role, name, description, &body.permissions)
        .await?;
    Ok(Json(role_of(era, written)))
}

/// Removes a role that nobody has, as the owner of the organization.
#[utoipa::path(delete, path = "/api/organizations/{organizationId}/roles/{roleId}", tag = "organizations",
    operation_id = "deleteOrganizationRole",
    params(("organizationId" = String, Path), ("roleId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "Somebody has it", body = ErrorBody)))]
pub(crate) async fn delete_role(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, role)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_role(&caller, &id, &role).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn role_of(era: Era, role: Role) -> OrganizationRole {
    OrganizationRole {
        permissions: words(era, &role.permissions),
        id: role.id.to_string(),
        name: role.name,
        description: role.description,
        is_global: role.organization_id.is_none(),
        created_at: role.created_at.into(),
        updated_at: role.updated_at.into(),
    }
}

fn shown(app: &App, organization: alcove_domain::Organization) -> Organization {
    let settings = app.control().organization_settings(&organization.id);
    let otel = settings.otel.as_ref();
    let otel = otel.map(|target| super::otel::shown(&organization.id, target.masked()));
    let suspension = organization.suspension;
    let is_suspended = suspension
        .as_ref()
        .is_some_and(|suspension| app.control().is_in_force(suspension));
    let [authenticated, create, lifecycle] = app.control().own_rate_limits(&organization.id);
    let grace_hours = suspension.as_ref().map(|suspension| suspension.grace_hours);
    let id = organization.id;
    Organization {
        id: id.to_string(),
        name: organization.name,
        created_by: organization.created_by.to_string(),
        personal: organization.is_personal,
        created_at: organization.created_at.into(),
        updated_at: organization.created_at.into(),
        suspended: is_suspended,
        suspended_at: suspension.as_ref().map(|it| it.since.into()),
        suspended_until: suspension.as_ref().and_then(|it| it.until).map(Into::into),
        suspension_reason: suspension.and_then(|suspension| suspension.reason),
        suspension_cleanup_grace_period_hours: grace_hours
            .unwrap_or(alcove_domain::suspension::GRACE_HOURS),
        // No limits are set: what the host has is the limit.
        max_cpu_per_sandbox: 0,
        max_memory_per_sandbox: 0,
        max_disk_per_sandbox: 0,
        secret_quota: alcove_domain::vault::SECRETS_MAX,
        max_secrets_per_sandbox: 0,
        snapshot_deactivation_timeout_minutes: deactivation_minutes(app),
        default_queue_timeout: None,
        sandbox_limited_network_egress: organization.is_egress_limited,
        preview_warning_enabled: app.warns_of_previews(),
        sso_enabled: app.control().has_sso(&id),
        scim_enabled: false,
        default_region_id: Some(app.control().settings().region.id.clone()),
        authenticated_rate_limit: authenticated.count,
        sandbox_create_rate_limit: create.count,
        sandbox_lifecycle_rate_limit: lifecycle.count,
        authenticated_rate_limit_ttl_seconds: authenticated.seconds,
        sandbox_create_rate_limit_ttl_seconds: create.seconds,
        sandbox_lifecycle_rate_limit_ttl_seconds: lifecycle.seconds,
        experimental_config: settings.experimental.clone(),
        otel_config: otel,
    }
}

/// After how long without use a snapshot is put away; 0 where none is.
fn deactivation_minutes(app: &App) -> u32 {
    let unused = app.control().settings().snapshots.unused;
    let minutes = unused.map_or(0, |unused| unused.as_secs() / 60);
    u32::try_from(minutes).unwrap_or(u32::MAX)
}
