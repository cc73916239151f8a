//! Who the caller is, and what the administrator makes of organizations.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{Organization, OrganizationLimitedEgress, OrganizationUser, User};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};
use crate::routes::daytona::quota::no_such_organization;

/// Days without use after which a snapshot would be put away, in minutes; shown, nothing acts on it.
const SNAPSHOT_DEACTIVATION_MINUTES: u32 = 20_160;

/// The caller.
#[utoipa::path(get, path = "/api/users/me", tag = "users", operation_id = "getAuthenticatedUser",
    responses((status = 200, body = User), (status = 401, body = ErrorBody)))]
pub(crate) async fn user(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<User>, ApiError> {
    let user = app.control().current_user(&caller).await?;
    Ok(Json(User {
        id: user.id.to_string(),
        name: user.name,
        email: user.email,
        email_verified: true,
        public_keys: Vec::new(),
        created_at: user.created_at.into(),
    }))
}

/// The organization that the caller's key belongs to. It is the only one that the key can see.
#[utoipa::path(get, path = "/api/organizations", tag = "organizations",
    operation_id = "listOrganizations",
    responses((status = 200, body = Vec<Organization>), (status = 401, body = ErrorBody)))]
pub(crate) async fn organizations(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<Organization>>, ApiError> {
    let organization = app.control().current_organization(&caller).await?;
    Ok(Json(vec![shown(&app, organization)]))
}

/// The caller's organization. Any other is not found.
#[utoipa::path(get, path = "/api/organizations/{organizationId}", tag = "organizations",
    operation_id = "getOrganization", params(("organizationId" = String, Path)),
    responses((status = 200, body = Organization), (status = 404, body = ErrorBody)))]
pub(crate) async fn organization(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Organization>, ApiError> {
    let organization = app.control().get_organization(&caller, &id).await?;
    Ok(Json(shown(&app, organization)))
}

/// The members of the caller's organization.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/users", tag = "organizations",
    operation_id = "listOrganizationMembers", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<OrganizationUser>), (status = 404, body = ErrorBody)))]
pub(crate) async fn members(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<OrganizationUser>>, ApiError> {
    let organization = app.control().get_organization(&caller, &id).await?;
    let owner = app.control().owner_of(&organization).await?;
    Ok(Json(vec![OrganizationUser {
        user_id: owner.id.to_string(),
        organization_id: organization.id.to_string(),
        name: owner.name,
        email: owner.email,
        role: "owner".to_owned(),
        assigned_roles: Vec::new(),
        created_at: organization.created_at.into(),
        updated_at: organization.created_at.into(),
    }]))
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

fn shown(app: &App, organization: alcove_domain::Organization) -> Organization {
    Organization {
        id: organization.id.to_string(),
        name: organization.name,
        created_by: organization.created_by.to_string(),
        personal: organization.is_personal,
        created_at: organization.created_at.into(),
        updated_at: organization.created_at.into(),
        suspended: false,
        suspended_at: None,
        suspension_reason: None,
        suspended_until: None,
        suspension_cleanup_grace_period_hours: 0,
        // No limits are set: what the host has is the limit.
        max_cpu_per_sandbox: 0,
        max_memory_per_sandbox: 0,
        max_disk_per_sandbox: 0,
        secret_quota: 0,
        max_secrets_per_sandbox: 0,
        snapshot_deactivation_timeout_minutes: SNAPSHOT_DEACTIVATION_MINUTES,
        default_queue_timeout: None,
        sandbox_limited_network_egress: organization.is_egress_limited,
        preview_warning_enabled: false,
        sso_enabled: false,
        scim_enabled: false,
        default_region_id: Some(app.control().settings().region.id.clone()),
        authenticated_rate_limit: None,
        sandbox_create_rate_limit: None,
        sandbox_lifecycle_rate_limit: None,
        authenticated_rate_limit_ttl_seconds: None,
        sandbox_create_rate_limit_ttl_seconds: None,
        sandbox_lifecycle_rate_limit_ttl_seconds: None,
        experimental_config: serde_json::Map::new(),
        otel_config: None,
    }
}
