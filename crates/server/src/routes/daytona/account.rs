//! Who the caller is.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{ApiKey, Organization, User};
use alcove_domain::Permission;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Authenticated;

/// Days without use after which a snapshot would be put away, in minutes; shown, nothing acts on it.
const SNAPSHOT_DEACTIVATION_MINUTES: u32 = 20_160;

/// The key that the caller came with, without its secret part.
#[utoipa::path(get, path = "/api/api-keys/current", tag = "api-keys",
    operation_id = "getCurrentApiKey",
    responses((status = 200, body = ApiKey), (status = 401, body = ErrorBody)))]
pub(crate) async fn api_key(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<ApiKey>, ApiError> {
    let key = app.control().current_api_key(&caller).await?;
    Ok(Json(ApiKey {
        name: key.name,
        value: format!("{}{}{}", key.prefix, "*".repeat(20), key.suffix),
        created_at: key.created_at.into(),
        permissions: key
            .permissions
            .iter()
            .map(Permission::as_str)
            .map(str::to_owned)
            .collect(),
        last_used_at: None,
        expires_at: key.expires_at.map(Into::into),
        user_id: key.user_id.to_string(),
        organization_id: Some(key.organization_id.to_string()),
    }))
}

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
    Ok(Json(vec![Organization {
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
        sandbox_limited_network_egress: false,
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
    }]))
}
