//! What a person sees where a program's page would be.

use axum::body::Body;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use http::{Response, StatusCode};

use crate::error::Failure;

/// Nothing of it is code, and nothing is loaded.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

/// The same, with a button that leads back here, and in no frame where another page could have it pressed.
const WARNING_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// Whether the client is a browser that shows a page. Programs get JSON.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

pub(super) fn of(failure: &Failure, has_no_body: bool) -> Response<Body> {
    let (status, _, message) = failure.outline();
    let (title, advice) = advice(failure, status);
    let text = format!(
        "<p>{}</p>\n<p>{advice}</p>\n<small>{status}</small>",
        escaped(&message)
    );
    let body = if has_no_body {
        String::new()
    } else {
        page(title, &text)
    };
    answer(status, body, POLICY)
}

/// What stands before a preview until a person has said that it is wanted.
pub(super) fn warning(action: &str) -> Response<Body> {
    let text = format!(
        "<p>Somebody runs this program in a sandbox. Enter nothing here that you would not tell them, and go on only \
         if you know who sent you.</p>\n<form method=\"post\" action=\"{}\"><button>Go on</button></form>",
        escaped(action)
    );
    answer(
        StatusCode::OK,
        page("This is a preview", &text),
        WARNING_POLICY,
    )
}

fn page(title: &str, text: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem;\
         color-scheme:light dark}}small{{opacity:.7}}</style>\n\
         <h1>{title}</h1>\n{text}\n</html>\n"
    )
}

fn answer(status: StatusCode, body: String, policy: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn advice(failure: &Failure, status: StatusCode) -> (&'static str, &'static str) {
    match (failure, status) {
        (Failure::NobodyListens, _) => (
            "Nothing listens here yet",
            "Start a server on this port in the sandbox, then load this page again.",
        ),
        (Failure::NoSuchPreview, _) => (
            "Not the address of a preview",
            "An address begins with a port and a sandbox, as in 3000-my-sandbox.",
        ),
        (Failure::NotRunning, _) | (_, StatusCode::BAD_REQUEST) => (
            "The sandbox does not run",
            "Start it, then load this page again.",
        ),
        (_, StatusCode::UNAUTHORIZED) => (
            "This preview is not public",
            "Open it by a signed URL, or with the sandbox's preview token. If you had one, it may have expired.",
        ),
        (_, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) => (
            "There is no such sandbox for you",
            "Look whether the address is right and whether your key is of its organization.",
        ),
        _ => (
            "The sandbox cannot be reached",
            "Load this page again in a moment.",
        ),
    }
}

/// Text as text: it may hold what the visitor wrote.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_visitor_wrote_is_text_on_the_page() {
        assert_eq!(
            escaped("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }
}
