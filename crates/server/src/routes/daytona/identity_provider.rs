//! Identity providers of organizations, as those who manage sign-ins see them.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateIdentityProvider, GenerateWorkosAdminPortalLink, IdentityProvider, OidcIdPConfigResponse,
    TestIdentityProviderConnection, TestIdentityProviderConnectionResponse, UpdateIdentityProvider,
    WorkosSsoConnection,
};
use alcove_domain::{SsoProvider, SsoProviderRequest};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf};

/// The identity providers that let people into the organization, the oldest first. Needs `manage:sso`, as the next two do.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/identity-providers", tag = "organizations",
    operation_id = "listOrganizationIdentityProviders", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<IdentityProvider>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<IdentityProvider>>, ApiError> {
    let found = app.control().list_identity_providers(&caller, &id).await?;
    Ok(Json(found.into_iter().map(shown).collect()))
}

/// One of them.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/identity-providers/{id}", tag = "organizations",
    operation_id = "getOrganizationIdentityProvider",
    params(("organizationId" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = IdentityProvider), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((organization, id)): PathOf<(String, String)>,
) -> Result<Json<IdentityProvider>, ApiError> {
    let found = app
        .control()
        .get_identity_provider(&caller, &organization, &id)
        .await?;
    Ok(Json(shown(found)))
}

/// Names an OpenID Connect provider whose people are let into the organization and become members, as its owner. They begin at
/// the page `/auth/sso?provider=ID`, and what they get opens this organization alone.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/identity-providers", tag = "organizations",
    operation_id = "createOrganizationIdentityProvider", params(("organizationId" = String, Path)),
    request_body = CreateIdentityProvider,
    responses((status = 201, body = IdentityProvider), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, description = "This server has no key to seal secrets with", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<CreateIdentityProvider>,
) -> Result<(StatusCode, Json<IdentityProvider>), ApiError> {
    let request = SsoProviderRequest {
        name: Some(body.name),
        issuer: Some(body.oidc_config.issuer_url),
        client_id: Some(body.oidc_config.client_id),
        client_secret: Some(body.oidc_config.client_secret),
        scope: body.oidc_config.scope,
        domains: body.email_domains,
        allows_any_domain: body.allow_any_domain,
        trusts_addresses: body.trust_email_verified,
        role_ids: body.default_assigned_role_ids,
        is_enabled: body.enabled,
    };
    let made = app
        .control()
        .create_identity_provider(&caller, &id, request)
        .await?;
    Ok((StatusCode::CREATED, Json(shown(made))))
}

/// Changes one, as the owner. Where it is disabled, or gets another issuer, the sessions that it began end; of another issuer, all
/// people are new.
#[utoipa::path(patch, path = "/api/organizations/{organizationId}/identity-providers/{id}", tag = "organizations",
    operation_id = "updateOrganizationIdentityProvider",
    params(("organizationId" = String, Path), ("id" = String, Path)),
    request_body = UpdateIdentityProvider,
    responses((status = 200, body = IdentityProvider), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((organization, id)): PathOf<(String, String)>,
    BodyOf(body): BodyOf<UpdateIdentityProvider>,
) -> Result<Json<IdentityProvider>, ApiError> {
    let config = body.oidc_config.unwrap_or_default();
    let request = SsoProviderRequest {
        name: body.name,
        issuer: config.issuer_url,
        client_id: config.client_id,
        client_secret: config.client_secret,
        scope: config.scope,
        domains: body.email_domains,
        allows_any_domain: body.allow_any_domain,
        trusts_addresses: body.trust_email_verified,
        role_ids: body.default_assigned_role_ids,
        is_enabled: body.enabled,
    };
    let changed = app
        .control()
        .update_identity_provider(&caller, &organization, &id, request)
        .await?;
    Ok(Json(shown(changed)))
}

/// Removes one, as the owner. The sessions that it began end; its people stay members until they are removed.
#[utoipa::path(delete, path = "/api/organizations/{organizationId}/identity-providers/{id}", tag = "organizations",
    operation_id = "deleteOrganizationIdentityProvider",
    params(("organizationId" = String, Path), ("id" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((organization, id)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .delete_identity_provider(&caller, &organization, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks an issuer for its description and its keys, and says whether people could come by it. Needs `manage:sso`.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/identity-providers/test-connection",
    tag = "organizations", operation_id = "testOrganizationIdentityProviderConnection",
    params(("organizationId" = String, Path)), request_body = TestIdentityProviderConnection,
    responses((status = 200, body = TestIdentityProviderConnectionResponse), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 429, description = "While others are asked", body = ErrorBody)))]
pub(crate) async fn test(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<TestIdentityProviderConnection>,
) -> Result<Json<TestIdentityProviderConnectionResponse>, ApiError> {
    let asked = app
        .control()
        .test_identity_provider(&caller, &id, &body.issuer_url)
        .await?;
    let (issuer, error) = match asked {
        Ok(issuer) => (Some(issuer), None),
        Err(error) => (None, Some(error)),
    };
    Ok(Json(TestIdentityProviderConnectionResponse {
        success: error.is_none(),
        issuer,
        error,
    }))
}

/// The same providers in the words of the vendor WorkOS, as which newer dashboards ask for them.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/identity-providers/workos-sso-connections",
    tag = "organizations", operation_id = "listWorkosSsoConnections", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<WorkosSsoConnection>), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn connections(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<WorkosSsoConnection>>, ApiError> {
    let found = app.control().list_identity_providers(&caller, &id).await?;
    let connections = found.into_iter().map(|provider| WorkosSsoConnection {
        id: provider.id.to_string(),
        name: provider.name,
        connection_type: "GenericOIDC".to_owned(),
        state: if provider.is_enabled {
            "active"
        } else {
            "inactive"
        }
        .to_owned(),
        domains: provider.domains,
        created_at: provider.created_at.into(),
        updated_at: provider.updated_at.into(),
    });
    Ok(Json(connections.collect()))
}

/// Refused: the portal is the vendor's, who does not sign people in here. Providers are named at `/identity-providers`.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/identity-providers/workos-admin-portal-link",
    tag = "organizations", operation_id = "generateWorkosAdminPortalLink",
    params(("organizationId" = String, Path)), request_body = GenerateWorkosAdminPortalLink,
    responses((status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn portal(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(_): BodyOf<GenerateWorkosAdminPortalLink>,
) -> Result<StatusCode, ApiError> {
    Err(app.control().refuse_provider_portal(&caller, &id).into())
}

fn shown(provider: SsoProvider) -> IdentityProvider {
    IdentityProvider {
        id: provider.id.to_string(),
        organization_id: provider.organization_id.to_string(),
        name: provider.name,
        oidc_config: OidcIdPConfigResponse {
            issuer_url: provider.issuer,
            client_id: provider.client_id,
            scope: provider.scope,
        },
        email_domains: provider.domains,
        allow_any_domain: provider.allows_any_domain,
        trust_email_verified: provider.trusts_addresses,
        default_assigned_role_ids: provider.roles.iter().map(ToString::to_string).collect(),
        enabled: provider.is_enabled,
        created_at: provider.created_at.into(),
        updated_at: provider.updated_at.into(),
    }
}
