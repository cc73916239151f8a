//! Pages of accounts: those that links lead to, which set a password or accept an invitation, the one that lets a program in, and the one
//! that leads to an identity provider and back.
//! They load nothing from anywhere else, and nobody can frame them.

use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

crate::routes::routes! {
    get "/auth/password", Public => password;
    get "/auth/password.js", Public => password_script;
    get "/auth/device", Public => device;
    get "/auth/device.js", Public => device_script;
    get "/auth/invitation", Public => invitation;
    get "/auth/invitation.js", Public => invitation_script;
    get "/auth/sso", Public => sso;
    get "/auth/sso.js", Public => sso_script;
}

const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'none'; \
    frame-ancestors 'none'; base-uri 'none'";

/// Where a link leads. What is behind the `#` is sent to no server, and so stands in no log.
pub fn password_url(public_url: &str, token: &str) -> String {
    format!("{public_url}/auth/password#{token}")
}

/// Where a link of an invitation leads.
pub(crate) fn invitation_url(public_url: &str, token: &str) -> String {
    format!("{public_url}/auth/invitation#{token}")
}

pub(crate) async fn password() -> Response {
    file(
        "text/html; charset=utf-8",
        include_str!("page/password.html"),
    )
}

pub(crate) async fn password_script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/password.js"),
    )
}

/// Where the user of a program lets it in.
pub fn device_url(public_url: &str) -> String {
    format!("{public_url}/auth/device")
}

pub(crate) async fn device() -> Response {
    file("text/html; charset=utf-8", include_str!("page/device.html"))
}

pub(crate) async fn device_script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/device.js"),
    )
}

pub(crate) async fn invitation() -> Response {
    file(
        "text/html; charset=utf-8",
        include_str!("page/invitation.html"),
    )
}

pub(crate) async fn invitation_script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/invitation.js"),
    )
}

/// Where people of an organization's identity provider begin, with its id behind `?provider=`, and where it sends them back.
pub(crate) fn sso_url(public_url: &str) -> String {
    format!("{public_url}/auth/sso")
}

pub(crate) async fn sso() -> Response {
    file("text/html; charset=utf-8", include_str!("page/sso.html"))
}

pub(crate) async fn sso_script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/sso.js"),
    )
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, text).into_response()
}
