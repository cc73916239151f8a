//! Where a port of a sandbox is reached.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{PortPreviewUrl, SignedPortPreviewUrl};
use alcove_control::Caller;
use alcove_domain::Port;
use alcove_domain::port::PortError;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};

/// Where the server on a port of the sandbox is shown, and a token for those who have no key. Works in every state.
///
/// The token lasts as long as the sandbox, and opens what the caller may reach: all ports, but 2280, 22222 and 33333
/// only for a caller with `write:sandboxes`.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", tag = "sandbox",
    operation_id = "getPortPreviewUrl", params(("sandboxIdOrName" = String, Path), ("port" = u16, Path)),
    responses((status = 200, body = PortPreviewUrl), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, port)): PathOf<(String, String)>,
) -> Result<Json<PortPreviewUrl>, ApiError> {
    of_port(&app, &caller, &id, &port).map(Json)
}

/// The same under the name that clients up to 0.20 have for it.
#[utoipa::path(get, path = "/api/workspace/{workspaceId}/ports/{port}/preview-url", tag = "workspace",
    operation_id = "getPortPreviewUrlWorkspace_deprecated",
    params(("workspaceId" = String, Path), ("port" = u16, Path)),
    responses((status = 200, body = PortPreviewUrl), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn workspace_url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, port)): PathOf<(String, String)>,
) -> Result<Json<PortPreviewUrl>, ApiError> {
    of_port(&app, &caller, &id, &port).map(Json)
}

/// The same, with a token in the host name that is good for this port alone and for so long: 1 to 86,400 seconds, 60
/// where the caller does not say.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url", tag = "sandbox",
    operation_id = "getSignedPortPreviewUrl",
    params(("sandboxIdOrName" = String, Path), ("port" = u16, Path), ("expiresInSeconds" = Option<i64>, Query)),
    responses((status = 200, body = SignedPortPreviewUrl), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn signed_url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, port)): PathOf<(String, String)>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SignedPortPreviewUrl>, ApiError> {
    let port = port_of(&port)?;
    let seconds = query.integer("expiresInSeconds");
    query.finish()?;
    let signed = app.control().sign_preview(&caller, &id, port, seconds)?;
    Ok(Json(SignedPortPreviewUrl {
        sandbox_id: signed.sandbox.to_string(),
        port: signed.port.get(),
        url: app.preview_url(signed.port, &signed.label),
        token: signed.label,
    }))
}

/// Ends a signed URL before its time.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire",
    tag = "sandbox", operation_id = "expireSignedPortPreviewUrl",
    params(("sandboxIdOrName" = String, Path), ("port" = u16, Path), ("token" = String, Path)),
    responses((status = 200), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn expire(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, port, token)): PathOf<(String, String, String)>,
) -> Result<(), ApiError> {
    let port = port_of(&port)?;
    app.control()
        .end_preview(&caller, &id, port, &token)
        .await?;
    Ok(())
}

fn port_of(text: &str) -> Result<Port, ApiError> {
    text.parse()
        .map_err(|error: PortError| ApiError::invalid(&[error.to_string()]))
}

fn of_port(app: &App, caller: &Caller, id: &str, port: &str) -> Result<PortPreviewUrl, ApiError> {
    let port = port_of(port)?;
    let (sandbox, token) = app.control().preview_token(caller, id)?;
    let url = if port.get() == Port::TOOLBOX {
        // Clients put paths of the toolbox behind it.
        format!("{}/{}", app.toolbox_url(), sandbox.id)
    } else {
        app.preview_url(port, &sandbox.id)
    };
    Ok(PortPreviewUrl {
        sandbox_id: sandbox.id.to_string(),
        url,
        token,
    })
}

/// The key with which URLs of this sandbox's files are signed.
///
/// A URL of the toolbox's `files/download` (GET) or `files/upload-v2` (POST) with `path`, `expires` (seconds since 1970, 0 for
/// never) and `signature` needs no other credential. The signature is `v1_` and the base64url of HMAC-SHA256 over
/// `v1:files:METHOD:PATH:EXPIRES`.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/signing-key", tag = "sandbox",
    operation_id = "getSandboxSigningKey", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn signing_key(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<String, ApiError> {
    // As it is: the Go client takes the quotes of JSON for a part of the key.
    Ok(app.control().signing_key(&caller, &id).await?)
}

/// Changes that key: no URL that was signed before opens anything any more.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/signing-key/rotate", tag = "sandbox",
    operation_id = "rotateSigningKey", params(("sandboxIdOrName" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn rotate_signing_key(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<String, ApiError> {
    Ok(app.control().rotate_signing_key(&caller, &id).await?)
}
