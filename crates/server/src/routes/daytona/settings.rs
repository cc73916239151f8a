//! What can be changed about a sandbox without stopping it.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{Sandbox, SandboxLabels, UpdateSandboxNetworkSettings};
use alcove_domain::NetworkSettings;
use axum::Json;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf};
use crate::present;

/// Replaces all labels.
#[utoipa::path(put, path = "/api/sandbox/{sandboxIdOrName}/labels", tag = "sandbox",
    operation_id = "replaceLabels", params(("sandboxIdOrName" = String, Path)),
    request_body = SandboxLabels,
    responses((status = 200, body = SandboxLabels), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn labels(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<SandboxLabels>,
) -> Result<Json<SandboxLabels>, ApiError> {
    let sandbox = app
        .control()
        .replace_labels(&caller, &id, body.labels)
        .await?;
    Ok(Json(SandboxLabels {
        labels: sandbox.labels.clone(),
    }))
}

pub(super) fn minutes(name: &str, text: &str) -> Result<i64, ApiError> {
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole
        .parse()
        .map_err(|_| ApiError::invalid(&[format!("{name} must be an integer number")]))
}

/// Declares a handler that sets one number of minutes.
macro_rules! interval_setter {
    ($(#[$doc:meta])* $handler:ident, $method:ident, $path:literal, $operation:literal, $name:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = "sandbox", operation_id = $operation,
            params(("sandboxIdOrName" = String, Path), ($name = i64, Path)),
            responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
                (status = 404, body = ErrorBody)))]
        pub(crate) async fn $handler(
            State(app): State<App>,
            Authenticated(caller): Authenticated,
            ClientEra(era): ClientEra,
            PathOf((id, interval)): PathOf<(String, String)>,
        ) -> Result<Response, ApiError> {
            let minutes = minutes($name, &interval)?;
            let sandbox = app.control().$method(&caller, &id, minutes).await?;
            Ok(present::sandbox_answer(&app, era, &sandbox))
        }
    };
}

interval_setter!(
    /// Idle minutes until the sandbox is stopped; 0 is never.
    auto_stop, set_auto_stop,
    "/api/sandbox/{sandboxIdOrName}/autostop/{interval}", "setAutostopInterval", "interval"
);
interval_setter!(
    /// Idle minutes until the sandbox is paused; 0 is never.
    auto_pause, set_auto_pause,
    "/api/sandbox/{sandboxIdOrName}/autopause/{interval}", "setAutoPauseInterval", "interval"
);
interval_setter!(
    /// Stopped minutes until the sandbox is archived; 0 is the longest allowed.
    auto_archive, set_auto_archive,
    "/api/sandbox/{sandboxIdOrName}/autoarchive/{interval}", "setAutoArchiveInterval", "interval"
);
interval_setter!(
    /// Stopped minutes until the sandbox is deleted; negative is never, 0 is as soon as it stops.
    auto_delete, set_auto_delete,
    "/api/sandbox/{sandboxIdOrName}/autodelete/{interval}", "setAutoDeleteInterval", "interval"
);
interval_setter!(
    /// Minutes from now until the sandbox is deleted whatever its state; 0 is never.
    ttl, set_ttl,
    "/api/sandbox/{sandboxIdOrName}/ttl/{ttlMinutes}", "setTtl", "ttlMinutes"
);

/// Whether previews of the sandbox need no credential.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/public/{isPublic}", tag = "sandbox",
    operation_id = "updatePublicStatus",
    params(("sandboxIdOrName" = String, Path), ("isPublic" = bool, Path)),
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn public(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf((id, is_public)): PathOf<(String, String)>,
) -> Result<Response, ApiError> {
    let is_public = self::is_public(&is_public)?;
    let sandbox = app.control().set_public(&caller, &id, is_public).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}

pub(super) fn is_public(text: &str) -> Result<bool, ApiError> {
    match text {
        // With a capital Python's generated client writes it.
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" => Ok(false),
        _ => Err(ApiError::invalid(&[
            "isPublic must be a boolean value".to_owned()
        ])),
    }
}

/// What the sandbox may reach. The answer comes when it is in force.
#[utoipa::path(post, path = "/api/sandbox/{sandboxIdOrName}/network-settings", tag = "sandbox",
    operation_id = "updateNetworkSettings", params(("sandboxIdOrName" = String, Path)),
    request_body = UpdateSandboxNetworkSettings,
    responses((status = 200, body = Sandbox), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn network(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateSandboxNetworkSettings>,
) -> Result<Response, ApiError> {
    let settings = NetworkSettings {
        block_all: body.network_block_all,
        allow_list: body.network_allow_list,
        domain_allow_list: body.domain_allow_list,
    };
    let sandbox = app.control().set_network(&caller, &id, settings).await?;
    Ok(present::sandbox_answer(&app, era, &sandbox))
}
