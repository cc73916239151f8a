//! Where a port of a sandbox is reached.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::PortPreviewUrl;
use alcove_control::Caller;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf};

/// Where the original's agent listens inside of sandboxes; by it clients mean the toolbox.
const TOOLBOX_PORT: u16 = 2280;

/// Base of what a port of the sandbox serves. Only the toolbox's port, 2280, is served: clients of 0.27 to 0.112
/// open its WebSockets there, and bring their API key as well.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", tag = "sandbox",
    operation_id = "getPortPreviewUrl", params(("sandboxIdOrName" = String, Path), ("port" = u16, Path)),
    responses((status = 200, body = PortPreviewUrl), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn url(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, port)): PathOf<(String, String)>,
) -> Result<Json<PortPreviewUrl>, ApiError> {
    of_port(&app, &caller, &id, &port).await.map(Json)
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
    of_port(&app, &caller, &id, &port).await.map(Json)
}

async fn of_port(
    app: &App,
    caller: &Caller,
    id: &str,
    port: &str,
) -> Result<PortPreviewUrl, ApiError> {
    let port: u16 =
        port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            ApiError::invalid(&["port must be a number of 1 to 65535".to_owned()])
        })?;
    let sandbox = app.control().get_sandbox(caller, id).await?;
    if port != TOOLBOX_PORT {
        return Err(ApiError::invalid(&[format!(
            "port must be {TOOLBOX_PORT}: this server has no previews of other ports yet"
        )]));
    }
    Ok(PortPreviewUrl {
        sandbox_id: sandbox.id.to_string(),
        url: format!("{}/{}", app.toolbox_url(), sandbox.id),
        token: String::new(),
    })
}
