//! The device authorization grant of OAuth 2.0 (RFC 8628): keys for programs whose user signs in with a browser.
//!
//! The two requests of the program are a form, as the standard has it, or JSON; they and their refusals have the standard's
//! words. What the page asks is ours.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    DecideOnDevice, DeviceAuthorization, DeviceRefusalBody, DeviceToken, WaitingDevice,
};
use alcove_control::{DeviceRefusal, DeviceRequest, Error};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Asking, Authenticated, BodyOf, PathOf};
use crate::query::Query;
use crate::routes::page;

crate::routes::routes! {
    post "/api/auth/device/code", Public => code;
    post "/api/auth/device/token", Grant => token;
    get "/api/auth/device/{userCode}", Key => look;
    post "/api/auth/device/confirm", Key => confirm;
}

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The fields of a form, or of an object of JSON.
struct Fields {
    form: Query,
    json: Map<String, Value>,
}

impl Fields {
    fn read(body: &Bytes) -> Self {
        let text = String::from_utf8_lossy(body);
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self {
            form: Query::parse(text.trim()),
            json,
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let of_json = self.json.get(name).and_then(Value::as_str);
        let found = of_json.map(str::to_owned).or_else(|| self.form.text(name));
        found.filter(|text| !text.is_empty())
    }
}

/// A refusal in the words of OAuth.
fn refused(error: &str, description: &str) -> Response {
    let body = DeviceRefusalBody {
        error: error.to_owned(),
        error_description: description.to_owned(),
    };
    unstored((StatusCode::BAD_REQUEST, Json(body)).into_response())
}

fn unstored(mut answer: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    answer
}

/// Begins for a program: it shows `user_code` and `verification_uri` to its user, and asks with `device_code` each `interval`
/// seconds. Both are good for ten minutes.
///
/// `client_id` is what the program calls itself, and `device_name` (ours, may be absent) the host that it runs on.
#[utoipa::path(post, path = "/api/auth/device/code", tag = "auth", operation_id = "beginDeviceAuthorization",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`client_id`, `device_name`"),
    responses((status = 200, body = DeviceAuthorization), (status = 400, body = DeviceRefusalBody),
        (status = 429, description = "Too many wait", body = ErrorBody)), security(()))]
pub(crate) async fn code(
    State(app): State<App>,
    Asking { client, .. }: Asking,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body);
    let Some(client_id) = fields.text("client_id") else {
        return Ok(refused("invalid_request", "client_id must be given"));
    };
    let request = DeviceRequest {
        client: client_id,
        device: fields.text("device_name"),
    };
    let codes = match app.control().begin_device(request, client.address).await {
        Ok(codes) => codes,
        Err(error @ Error::Invalid { .. }) => {
            return Ok(refused("invalid_request", &error.public_message()));
        }
        Err(error) => return Err(error.into()),
    };
    let url = page::device_url(app.public_url());
    let answer = DeviceAuthorization {
        verification_uri_complete: format!("{url}#{}", codes.user_code),
        verification_uri: url,
        device_code: codes.device_code,
        user_code: codes.user_code,
        expires_in: codes.lasts.as_secs(),
        interval: codes.interval.as_secs(),
    };
    Ok(unstored(Json(answer).into_response()))
}

/// Gives a program its key, once its user has approved: an API key of that user, which is listed and ended as any other.
///
/// Until then it is refused with `authorization_pending`; with `slow_down` where it asks too often, and must wait 5 seconds
/// longer each time from then on; with `access_denied`, `expired_token` and `invalid_grant` for good.
#[utoipa::path(post, path = "/api/auth/device/token", tag = "auth", operation_id = "redeemDeviceCode",
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
        description = "`grant_type` (`urn:ietf:params:oauth:grant-type:device_code`), `device_code`, `client_id`"),
    responses((status = 200, body = DeviceToken), (status = 400, body = DeviceRefusalBody)), security(()))]
pub(crate) async fn token(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body);
    match fields.text("grant_type").as_deref() {
        Some(GRANT) => {}
        Some(_) => {
            return Ok(refused(
                "unsupported_grant_type",
                "only codes of devices are taken",
            ));
        }
        None => return Ok(refused("invalid_request", "grant_type must be given")),
    }
    let Some(code) = fields.text("device_code") else {
        return Ok(refused("invalid_request", "device_code must be given"));
    };
    Ok(match app.control().redeem_device(&code).await? {
        Ok(made) => unstored(
            Json(DeviceToken {
                access_token: made.text,
                token_type: "Bearer".to_owned(),
                key_name: made.key.name,
                organization_id: made.key.organization_id.to_string(),
            })
            .into_response(),
        ),
        Err(refusal) => refused(refusal.as_str(), description(refusal)),
    })
}

fn description(refusal: DeviceRefusal) -> &'static str {
    match refusal {
        DeviceRefusal::AuthorizationPending => "the user has not decided yet",
        DeviceRefusal::SlowDown => "wait longer between two requests",
        DeviceRefusal::AccessDenied => "the user has refused",
        DeviceRefusal::ExpiredToken => "the code has expired",
        DeviceRefusal::InvalidGrant => "there is no such code",
    }
}

/// What waits under a user code, for a person who has signed in.
#[utoipa::path(get, path = "/api/auth/device/{userCode}", tag = "auth", operation_id = "getWaitingDevice",
    params(("userCode" = String, Path)),
    responses((status = 200, body = WaitingDevice), (status = 403, description = "The caller came with a key", body = ErrorBody),
        (status = 404, description = "Nothing waits under it", body = ErrorBody),
        (status = 429, description = "After too many of those", body = ErrorBody)))]
pub(crate) async fn look(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(code): PathOf<String>,
) -> Result<Json<WaitingDevice>, ApiError> {
    let found = app.control().look_at_device(&caller, &code)?;
    Ok(Json(WaitingDevice {
        client_id: found.request.client,
        device_name: found.request.device,
        address: found.address.map(|address| address.to_string()),
        began_at: found.began_at.into(),
    }))
}

/// Lets a program in as the person who has signed in, in the organization that the caller acts in, or refuses it.
#[utoipa::path(post, path = "/api/auth/device/confirm", tag = "auth", operation_id = "decideOnDevice",
    request_body = DecideOnDevice,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 403, description = "The caller came with a key", body = ErrorBody),
        (status = 404, description = "Nothing waits under this code", body = ErrorBody),
        (status = 429, description = "After too many of those", body = ErrorBody)))]
pub(crate) async fn confirm(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<DecideOnDevice>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .decide_on_device(&caller, &body.user_code, body.approve)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
