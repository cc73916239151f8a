//! Secrets that an organization keeps.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    CreateSecret, Sandbox, SandboxSecret, Secret, SecretPage, UpdateSandboxSecrets, UpdateSecret,
};
use alcove_control::ListVaultSecrets;
use alcove_domain::{
    self as domain, NewVaultSecret, SortOrder, VaultSecret, VaultSecretChange, VaultSecretSort,
};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};
use crate::present;

/// All secrets of the organization, the oldest first. Values are never told.
#[utoipa::path(get, path = "/api/secret", tag = "secret", operation_id = "listSecrets",
    responses((status = 200, body = Vec<Secret>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<Vec<Secret>>, ApiError> {
    let secrets = app.control().list_vault_secrets(&caller).await?;
    Ok(Json(secrets.into_iter().map(told).collect()))
}

/// Secrets of the organization, some at a time.
#[utoipa::path(get, path = "/api/secret/paginated", tag = "secret", operation_id = "listSecretsPaginated",
    params(("cursor" = Option<String>, Query, description = "From the page before"),
        ("limit" = Option<i64>, Query, description = "1 to 200; 100 if absent"),
        ("name" = Option<String>, Query, description = "A part of the name"),
        ("sort" = Option<String>, Query, description = "`name`, `createdAt` or `updatedAt`"),
        ("order" = Option<String>, Query, description = "`asc` or `desc`")),
    responses((status = 200, body = SecretPage), (status = 400, body = ErrorBody)))]
pub(crate) async fn page(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SecretPage>, ApiError> {
    let list = ListVaultSecrets {
        cursor: query.text("cursor"),
        limit: query.integer("limit"),
        name: query.text("name"),
        sort: query.word("sort", |word| match word {
            "name" => Some(VaultSecretSort::Name),
            "createdAt" => Some(VaultSecretSort::CreatedAt),
            "updatedAt" => Some(VaultSecretSort::UpdatedAt),
            _ => None,
        }),
        order: query.word("order", |word| match word {
            "asc" => Some(SortOrder::Ascending),
            "desc" => Some(SortOrder::Descending),
            _ => None,
        }),
    };
    query.finish()?;
    let page = app.control().page_vault_secrets(&caller, list).await?;
    Ok(Json(SecretPage {
        items: page.items.into_iter().map(told).collect(),
        total: u64::try_from(page.total).unwrap_or(u64::MAX),
        next_cursor: page.next_cursor,
    }))
}

/// Keeps a secret. The value is kept sealed and never told.
#[utoipa::path(post, path = "/api/secret", tag = "secret", operation_id = "createSecret",
    request_body = CreateSecret,
    responses((status = 201, body = Secret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "There is one of this name", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateSecret>,
) -> Result<(StatusCode, Json<Secret>), ApiError> {
    let new = NewVaultSecret {
        name: body.name,
        value: domain::Secret(body.value),
        description: body.description,
        hosts: body.hosts,
    };
    let secret = app.control().create_vault_secret(&caller, new).await?;
    Ok((StatusCode::CREATED, Json(told(secret))))
}

/// A secret.
#[utoipa::path(get, path = "/api/secret/{secretId}", tag = "secret", operation_id = "getSecret",
    params(("secretId" = String, Path)),
    responses((status = 200, body = Secret), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Secret>, ApiError> {
    let secret = app.control().get_vault_secret(&caller, &id).await?;
    Ok(Json(told(secret)))
}

/// Changes the value, the description or the hosts of a secret.
#[utoipa::path(patch, path = "/api/secret/{secretId}", tag = "secret", operation_id = "updateSecret",
    params(("secretId" = String, Path)), request_body = UpdateSecret,
    responses((status = 200, body = Secret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateSecret>,
) -> Result<Json<Secret>, ApiError> {
    let change = VaultSecretChange {
        value: body.value.map(domain::Secret),
        description: body.description,
        hosts: body.hosts,
    };
    let changed = app.control().update_vault_secret(&caller, &id, change);
    Ok(Json(told(changed.await?)))
}

/// Removes a secret.
#[utoipa::path(delete, path = "/api/secret/{secretId}", tag = "secret", operation_id = "deleteSecret",
    params(("secretId" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control().delete_vault_secret(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The secrets of a sandbox. No sandbox has any.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/secrets", tag = "sandbox",
    operation_id = "resolveSandboxSecrets", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = Vec<SandboxSecret>), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_sandbox(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<SandboxSecret>>, ApiError> {
    app.control().get_sandbox(&caller, &id).await?;
    Ok(Json(Vec::new()))
}

/// Takes all secrets from a sandbox. None can be given to one yet: what would put values into its requests is not there.
#[utoipa::path(put, path = "/api/sandbox/{sandboxIdOrName}/secrets", tag = "sandbox",
    operation_id = "updateSandboxSecrets", params(("sandboxIdOrName" = String, Path)),
    request_body = UpdateSandboxSecrets,
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 422, description = "The list is not empty", body = ErrorBody)))]
pub(crate) async fn set_of_sandbox(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateSandboxSecrets>,
) -> Result<Json<Sandbox>, ApiError> {
    let sandbox = app
        .control()
        .set_sandbox_secrets(&caller, &id, body.secrets.len())?;
    Ok(Json(present::sandbox(&app, &sandbox)))
}

fn told(secret: VaultSecret) -> Secret {
    Secret {
        id: secret.id.to_string(),
        name: secret.name,
        description: Some(secret.description).filter(|text| !text.is_empty()),
        created_at: secret.created_at.into(),
        updated_at: secret.updated_at.into(),
        placeholder: secret.placeholder,
        hosts: secret.hosts.iter().map(ToString::to_string).collect(),
    }
}
