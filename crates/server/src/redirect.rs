//! What is said without TLS where only TLS is spoken: where to ask, and answers to the challenges of an authority.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri};
use hyper::service::Service;
use hyper::{Request, Response};

/// Where an authority looks whether a name leads here (RFC 8555, 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
const ONLY_TLS: &str = "This server is reached by https only.\n";

/// The answers to challenges of the kind HTTP-01 that are under way. Clones are the same ones.
#[derive(Clone, Default)]
pub struct HttpChallenges {
    answers: Arc<RwLock<HashMap<String, String>>>,
}

impl fmt::Debug for HttpChallenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpChallenges").finish_non_exhaustive()
    }
}

impl HttpChallenges {
    /// Says `answer` to who asks for the token, until [`Self::end`].
    pub fn answer(&self, token: &str, answer: &str) {
        self.write().insert(token.to_owned(), answer.to_owned());
    }

    pub fn end(&self, token: &str) {
        self.write().remove(token);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, String>> {
        self.answers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, token: &str) -> Option<String> {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        answers.get(token).cloned()
    }
}

/// The service of a listener without TLS beside one with it.
#[derive(Debug, Clone)]
pub struct Redirect {
    port: Option<u16>,
    challenges: HttpChallenges,
}

impl Redirect {
    /// To the same host, on the port of the listener with TLS.
    pub fn new(port: u16, challenges: HttpChallenges) -> Self {
        Self {
            port: Some(port),
            challenges,
        }
    }

    /// To the same host and port.
    pub(crate) fn here() -> Self {
        Self {
            port: None,
            challenges: HttpChallenges::default(),
        }
    }

    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        if let Some(answer) = uri
            .path()
            .strip_prefix(CHALLENGES)
            .and_then(|token| self.challenges.get(token))
        {
            return text(StatusCode::OK, answer);
        }
        // A program that sends its key in the clear must notice at once, and not do so before each redirect. What changes
        // something is sent by programs too, many of which lose key or body on the way.
        let is_look = [Method::GET, Method::HEAD].contains(method);
        if !is_look || headers.contains_key(AUTHORIZATION) {
            return text(StatusCode::FORBIDDEN, ONLY_TLS.to_owned());
        }
        let Some(location) = self.location(uri, headers) else {
            return text(StatusCode::BAD_REQUEST, ONLY_TLS.to_owned());
        };
        let mut response = text(StatusCode::PERMANENT_REDIRECT, ONLY_TLS.to_owned());
        response.headers_mut().insert(LOCATION, location);
        response
    }

    fn location(&self, uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
        let host = || headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
        let authority = uri.authority().cloned().or_else(host)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return None;
        }
        let port = self.port.or(authority.port_u16()).unwrap_or(443);
        let port = match port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let location = format!("https://{}{port}{path}", authority.host());
        HeaderValue::try_from(location).ok()
    }
}

impl Service<Request<hyper::body::Incoming>> for Redirect {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Self::Future {
        ready(Ok(self.answer(
            request.method(),
            request.uri(),
            request.headers(),
        )))
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    // Another server may be here tomorrow, without TLS.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn ask(
        redirect: &Redirect,
        method: &Method,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Response<Body> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        redirect.answer(method, &uri.parse().unwrap(), &headers)
    }

    fn location(response: &Response<Body>) -> &str {
        response.headers()[LOCATION].to_str().unwrap()
    }

    #[test]
    fn who_looks_without_tls_is_sent_to_the_same_place_with_it() {
        let beside = |port| Redirect::new(port, HttpChallenges::default());
        for (redirect, host, uri, expected) in [
            (
                beside(443),
                "box.example.com",
                "/a?b=c",
                "https://box.example.com/a?b=c",
            ),
            (
                beside(443),
                "box.example.com:80",
                "/",
                "https://box.example.com/",
            ),
            (
                beside(3000),
                "box.example.com:8080",
                "/",
                "https://box.example.com:3000/",
            ),
            (
                Redirect::here(),
                "1.2.3.4:3000",
                "//e",
                "https://1.2.3.4:3000//e",
            ),
            (Redirect::here(), "[::1]:3000", "/", "https://[::1]:3000/"),
            (
                beside(443),
                "other",
                "http://box.example.com/x",
                "https://box.example.com/x",
            ),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let response = ask(&redirect, &method, uri, &[("host", host)]);
                assert_eq!(
                    response.status(),
                    StatusCode::PERMANENT_REDIRECT,
                    "{host} {uri}"
                );
                assert_eq!(location(&response), expected);
            }
        }
        for host in ["", "a@b", "a b", "a/b"] {
            let response = ask(&beside(443), &Method::GET, "/", &[("host", host)]);
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{host:?}");
        }
    }

    #[test]
    fn who_brings_a_key_or_changes_something_is_refused() {
        let here = Redirect::here();
        let host = ("host", "box.example.com");
        let key = ("authorization", "Bearer key");
        let refused = ask(&here, &Method::GET, "/", &[host, key]);
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            let refused = ask(&here, &method, "/", &[host]);
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
            assert!(!refused.headers().contains_key(LOCATION));
        }
    }

    #[test]
    fn a_challenge_is_answered_while_it_lasts() {
        let challenges = HttpChallenges::default();
        let redirect = Redirect::new(443, challenges.clone());
        let look = || {
            let uri = "/.well-known/acme-challenge/token";
            ask(&redirect, &Method::GET, uri, &[("host", "box.example.com")]).status()
        };
        assert_eq!(look(), StatusCode::PERMANENT_REDIRECT);
        challenges.answer("token", "token.thumbprint");
        assert_eq!(look(), StatusCode::OK);
        challenges.end("token");
        assert_eq!(look(), StatusCode::PERMANENT_REDIRECT);
    }
}
