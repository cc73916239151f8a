//! Registries that images are pulled from.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateDockerRegistry, DockerRegistry, RegistryPushAccess, RegistryType, UpdateDockerRegistry,
};
use alcove_control::CreateRegistry;
use alcove_domain::{Registry, RegistryKind, RegistryRequest, Secret};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};

/// The organization's registries.
#[utoipa::path(get, path = "/api/docker-registry", tag = "docker-registry", operation_id = "listRegistries",
    responses((status = 200, body = Vec<DockerRegistry>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<DockerRegistry>>, ApiError> {
    let registries = app.control().list_registries(&caller).await?;
    Ok(Json(registries.iter().map(present).collect()))
}

/// Adds a registry. The password is kept sealed and never told.
#[utoipa::path(post, path = "/api/docker-registry", tag = "docker-registry", operation_id = "createRegistry",
    request_body = CreateDockerRegistry,
    responses((status = 201, body = DockerRegistry), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateDockerRegistry>,
) -> Result<(StatusCode, Json<DockerRegistry>), ApiError> {
    let kind = body
        .registry_type
        .as_deref()
        .map(|word| {
            RegistryKind::parse(word)
                .ok_or_else(|| ApiError::invalid(&[format!("registryType does not take {word:?}")]))
        })
        .transpose()?;
    let create = CreateRegistry {
        request: RegistryRequest {
            name: body.name,
            url: body.url,
            username: body.username,
            password: Some(Secret(body.password)),
            project: body.project,
        },
        kind,
        is_default: body.is_default.unwrap_or(false),
    };
    let registry = app.control().create_registry(&caller, create).await?;
    Ok((StatusCode::CREATED, Json(present(&registry))))
}

/// A registry.
#[utoipa::path(get, path = "/api/docker-registry/{id}", tag = "docker-registry", operation_id = "getRegistry",
    params(("id" = String, Path)),
    responses((status = 200, body = DockerRegistry), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<DockerRegistry>, ApiError> {
    let registry = app.control().get_registry(&caller, &id).await?;
    Ok(Json(present(&registry)))
}

/// Changes a registry.
#[utoipa::path(patch, path = "/api/docker-registry/{id}", tag = "docker-registry",
    operation_id = "updateRegistry", params(("id" = String, Path)), request_body = UpdateDockerRegistry,
    responses((status = 200, body = DockerRegistry), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateDockerRegistry>,
) -> Result<Json<DockerRegistry>, ApiError> {
    let request = RegistryRequest {
        name: body.name,
        url: body.url,
        username: body.username,
        password: body.password.map(Secret),
        project: body.project,
    };
    let registry = app.control().update_registry(&caller, &id, request).await?;
    Ok(Json(present(&registry)))
}

/// Removes a registry. What was pulled from it stays.
#[utoipa::path(delete, path = "/api/docker-registry/{id}", tag = "docker-registry",
    operation_id = "deleteRegistry", params(("id" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_registry(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a registry go before the organization's others, as the administrator of the server.
#[utoipa::path(post, path = "/api/admin/docker-registry/{id}/set-default", tag = "admin",
    operation_id = "adminSetDefaultRegistry", params(("id" = String, Path)),
    responses((status = 200, body = DockerRegistry), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn set_default(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<DockerRegistry>, ApiError> {
    let registry = app.control().set_default_registry(&caller, &id).await?;
    Ok(Json(present(&registry)))
}

/// The same, where clients before 0.164 look for it.
#[utoipa::path(post, path = "/api/docker-registry/{id}/set-default", tag = "docker-registry",
    operation_id = "setDefaultRegistry", params(("id" = String, Path)),
    responses((status = 200, body = DockerRegistry), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn set_default_older(
    app: State<App>,
    caller: Authenticated,
    id: PathOf<String>,
) -> Result<Json<DockerRegistry>, ApiError> {
    set_default(app, caller, id).await
}

/// Credentials for an hour to push to the server's own registry, below the organization's id.
#[utoipa::path(get, path = "/api/docker-registry/registry-push-access", tag = "docker-registry",
    operation_id = "getTransientPushAccess",
    params(("regionId" = Option<String>, Query, description = "Id or name; there is one region")),
    responses((status = 200, body = RegistryPushAccess), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 503, description = "The server has no registry", body = ErrorBody)))]
pub(crate) async fn push_access(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<RegistryPushAccess>, ApiError> {
    let region = query.text("regionId");
    query.finish()?;
    let access = app
        .control()
        .registry_push_access(&caller, region.as_deref())?;
    let host = app
        .registry_host()
        .ok_or_else(|| ApiError::not_served("This server has no registry"))?;
    Ok(Json(RegistryPushAccess {
        username: access.username,
        secret: access.secret.0,
        registry_url: host.to_owned(),
        registry_id: access.registry_id,
        project: access.project,
        expires_at: access.expires_at.into(),
    }))
}

fn present(registry: &Registry) -> DockerRegistry {
    DockerRegistry {
        id: registry.id.to_string(),
        name: registry.name.clone(),
        url: registry.url.to_string(),
        username: registry.username.clone(),
        project: registry.project.clone(),
        registry_type: RegistryType::Organization,
        created_at: registry.created_at.into(),
        updated_at: registry.updated_at.into(),
    }
}
