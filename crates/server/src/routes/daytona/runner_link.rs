//! Where a runner in a process of its own comes in.

use std::sync::Arc;

use alcove_api_types::ErrorBody;
use alcove_runner_link::{PROTOCOL, RemoteRunner};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;

use crate::app::App;
use crate::error::ApiError;
use crate::machine::OwnRunner;

/// Says which data folder a runner has.
const INSTANCE: &str = "x-alcove-instance";
const INSTANCE_MAX: usize = 64;

/// Turns the connection of a runner into a link: from then on the server asks over it, and the runner answers. Takes an
/// upgrade to `alcove-runner/1`, and the header `X-Alcove-Instance`: a word that the runner's data folder keeps.
#[utoipa::path(get, path = "/api/runners/me/link", tag = "runners", operation_id = "linkRunner",
    params(("X-Alcove-Instance" = Option<String>, Header)),
    responses((status = 101, description = "The connection is a link now"),
        (status = 400, description = "No word for the data folder", body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody),
        (status = 409, description = "The runner has another data folder, with sandboxes in it", body = ErrorBody),
        (status = 426, description = "Not an upgrade", body = ErrorBody)))]
pub(crate) async fn link(
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    mut request: Request,
) -> Result<Response, ApiError> {
    if !asks_for_link(request.headers()) {
        return Err(ApiError::no_link(PROTOCOL));
    }
    let instance = request.headers().get(INSTANCE);
    let instance = instance.and_then(|word| word.to_str().ok()).unwrap_or("");
    if !is_word(instance) {
        return Err(ApiError::invalid(&[format!(
            "X-Alcove-Instance must have 1 to {INSTANCE_MAX} letters, digits and dashes"
        )]));
    }
    app.control().admit_runner(&runner, instance).await?;
    let upgraded = hyper::upgrade::on(&mut request);
    let control = app.control().clone();
    tokio::spawn(async move {
        let upgraded = match upgraded.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a link did not come about"),
        };
        match RemoteRunner::over(TokioIo::new(upgraded)).await {
            Ok(remote) => {
                let link = remote.clone();
                let ended = link.ended();
                control
                    .attend_runner(&runner, Arc::new(remote), ended)
                    .await;
                if let Some(why) = link.cut_off() {
                    tracing::warn!(runner.id = %runner, %why, "a runner was cut off: {why}");
                }
            }
            Err(error) => tracing::warn!(runner.id = %runner, %error, "a link is no link"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

fn asks_for_link(headers: &HeaderMap) -> bool {
    let asked = headers.get(UPGRADE);
    asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()))
}

fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=INSTANCE_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}
