//! Which headers pass between a browser and a program in a sandbox.
//!
//! The program is nobody's friend. No credential of the platform goes in, in whatever form; nothing comes out that could
//! reach beyond the one host or path that the program is shown under.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, EXPECT, FORWARDED,
    HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, PROXY_AUTHORIZATION, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, VARY,
};

use super::place::Place;
use super::trust::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::headers::{self, SKIP_ACTIVITY};

/// A preview token.
pub(crate) const PREVIEW_TOKEN: HeaderName = HeaderName::from_static("x-daytona-preview-token");
/// The client's wish that the proxy says nothing about other origins.
pub(super) const DISABLE_CORS: HeaderName = HeaderName::from_static("x-daytona-disable-cors");

/// The client's wish to see the program and not the page that warns of it.
pub(super) const SKIP_WARNING: HeaderName =
    HeaderName::from_static("x-daytona-skip-preview-warning");

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What is between the client and the platform. So is everything that starts with `x-alcove-` or `x-forwarded-`.
const CLIENT_ONLY: [HeaderName; 9] = [
    PROXY_AUTHORIZATION,
    EXPECT,
    FORWARDED,
    PREVIEW_TOKEN,
    DISABLE_CORS,
    SKIP_ACTIVITY,
    SKIP_WARNING,
    HeaderName::from_static("x-daytona-authorization"),
    HeaderName::from_static("x-daytona-organization-id"),
];

/// What reaches beyond the program's own host: its name's relatives, other ports of it, this server's other pages.
const NOT_FROM_PROGRAMS: [HeaderName; 3] = [
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("alt-svc"),
];

/// Keys begin so.
const KEY_MARK: &str = "dtn_";
/// Cookies of the platform, whatever guards their names.
const COOKIE_MARK: &str = "alcove-";
const GUARDS: [&str; 2] = ["__Host-", "__Secure-"];

/// What a page of the path's form may do. Without an origin of its own it can neither read the server's other answers
/// nor keep anything in the browser.
const PATH_POLICY: HeaderValue = HeaderValue::from_static(
    "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
);

/// How the request came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub host: Option<&'a HeaderValue>,
    /// The addresses that the request came by, the client's first.
    pub chain: Option<&'a HeaderValue>,
    pub is_https: bool,
}

/// Turns the client's headers into those for the program.
pub(super) fn prepare_request(
    headers: &mut HeaderMap,
    place: &Place,
    way: Way<'_>,
    has_our_bearer: bool,
) {
    headers::to_next_hop(headers, |name| {
        CLIENT_ONLY.contains(name)
            || name.as_str().starts_with("x-alcove-")
            || name.as_str().starts_with("x-forwarded-")
    });
    let authorization = headers.get(AUTHORIZATION);
    let holds_key = authorization.is_some_and(|value| {
        let value = value.as_bytes();
        value
            .windows(KEY_MARK.len())
            .any(|part| part == KEY_MARK.as_bytes())
    });
    if has_our_bearer || holds_key {
        headers.remove(AUTHORIZATION);
    }
    remove_our_cookies(headers);
    if let Ok(host) = HeaderValue::from_str(&format!("localhost:{}", place.port)) {
        headers.insert(HOST, host);
    }
    if let Some(host) = way.host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    let scheme = if way.is_https { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    if let Some(chain) = way.chain {
        headers.insert(X_FORWARDED_FOR, chain.clone());
    }
    let prefix = place
        .prefix
        .as_deref()
        .and_then(|prefix| HeaderValue::from_str(prefix).ok());
    if let Some(prefix) = prefix {
        headers.insert(X_FORWARDED_PREFIX, prefix);
    }
}

fn is_our_cookie(name: &str) -> bool {
    let name = GUARDS
        .iter()
        .find_map(|guard| name.strip_prefix(guard))
        .unwrap_or(name);
    name.starts_with(COOKIE_MARK)
}

fn remove_our_cookies(headers: &mut HeaderMap) {
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            // What we cannot read may hold one of ours.
            let text = value.to_str().ok()?;
            let cookies: Vec<&str> = text
                .split(';')
                .map(str::trim)
                .filter(|cookie| {
                    !is_our_cookie(cookie.split('=').next().unwrap_or_default().trim())
                })
                .filter(|cookie| !cookie.is_empty())
                .collect();
            (!cookies.is_empty()).then(|| HeaderValue::from_str(&cookies.join("; ")).ok())?
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

/// The value of a cookie of ours.
pub(super) fn own_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// Turns the program's headers into those for the client.
pub(super) fn prepare_response(headers: &mut HeaderMap, place: &Place, is_upgrade: bool) {
    headers::to_client(headers, is_upgrade, |name| {
        NOT_FROM_PROGRAMS.contains(name)
            || name.as_str().starts_with("x-alcove-")
            || (place.prefix.is_some() && name.as_str() == "service-worker-allowed")
    });
    let cookies: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| confined_cookie(value.to_str().ok()?, place.prefix.as_deref()))
        .collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    let Some(prefix) = &place.prefix else {
        return;
    };
    // Beside a policy of the program's own: a browser keeps both.
    headers.append(CONTENT_SECURITY_POLICY, PATH_POLICY);
    let location = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok());
    let inner =
        location.filter(|location| location.starts_with('/') && !location.starts_with("//"));
    let outer = inner.and_then(|path| HeaderValue::from_str(&format!("{prefix}{path}")).ok());
    if let Some(outer) = outer {
        headers.insert(LOCATION, outer);
    }
}

/// A cookie that goes back to this host, and below this path, alone. None for one with a name of ours.
fn confined_cookie(cookie: &str, prefix: Option<&str>) -> Option<HeaderValue> {
    let mut parts = cookie.split(';');
    let pair = parts.next()?.trim();
    if is_our_cookie(pair.split('=').next().unwrap_or_default().trim()) {
        return None;
    }
    let mut confined = pair.to_owned();
    for attribute in parts {
        let name = attribute.split('=').next().unwrap_or_default().trim();
        let is_path = name.eq_ignore_ascii_case("path");
        if name.is_empty() || name.eq_ignore_ascii_case("domain") || (is_path && prefix.is_some()) {
            continue;
        }
        confined.push_str("; ");
        confined.push_str(attribute.trim());
    }
    if let Some(prefix) = prefix {
        confined.push_str("; Path=");
        confined.push_str(prefix);
        confined.push('/');
    }
    HeaderValue::from_str(&confined).ok()
}

/// Lets a page of another origin read the answer, if it brought a token itself. What a browser adds on its own, such as
/// a cookie, lets nobody read.
pub(super) fn let_origin_read(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    if let Some(origin) = origin
        && !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(VARY, HeaderValue::from(ORIGIN));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_domain::Port;

    use super::*;

    fn place(prefix: Option<&str>) -> Place {
        Place {
            name: "box".to_owned(),
            port: Port::new(3000).unwrap(),
            prefix: prefix.map(str::to_owned),
            path: "/".to_owned(),
        }
    }

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn texts(headers: &HeaderMap) -> Vec<String> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut texts: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", text(value)))
            .collect();
        texts.sort();
        texts
    }

    fn asked(pairs: &[(&str, &str)], has_our_bearer: bool) -> Vec<String> {
        let mut headers = map(pairs);
        let host = HeaderValue::from_static("3000-box.localhost:8080");
        let chain = HeaderValue::from_static("10.0.0.1");
        let way = Way {
            host: Some(&host),
            chain: Some(&chain),
            is_https: false,
        };
        prepare_request(&mut headers, &place(None), way, has_our_bearer);
        texts(&headers)
    }

    const ALWAYS: [&str; 4] = [
        "host: localhost:3000",
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-host: 3000-box.localhost:8080",
        "x-forwarded-proto: http",
    ];

    #[test]
    fn nothing_of_the_platform_reaches_the_program() {
        let asked = asked(
            &[
                ("host", "3000-box.localhost:8080"),
                ("authorization", "Bearer dtn_0123"),
                ("x-daytona-preview-token", "secret"),
                ("x-daytona-organization-id", "org"),
                ("x-daytona-authorization", "secret"),
                ("x-daytona-skip-last-activity-update", "true"),
                ("x-alcove-agent-token", "secret"),
                ("x-forwarded-for", "1.2.3.4"),
                ("forwarded", "for=1.2.3.4"),
                ("expect", "100-continue"),
                ("connection", "x-hop, keep-alive"),
                ("x-hop", "1"),
                (
                    "cookie",
                    "alcove-preview=secret; __Host-alcove-preview=secret",
                ),
                ("cookie", "__Secure-alcove-session=secret"),
            ],
            false,
        );
        assert_eq!(asked, ALWAYS);
    }

    #[test]
    fn what_is_the_programs_own_reaches_it() {
        let asked = asked(
            &[
                ("authorization", "Bearer of-the-program"),
                ("cookie", "a=1; alcove-preview=secret;b=2"),
                ("cookie", "c=3"),
                ("origin", "https://example.com"),
            ],
            false,
        );
        assert_eq!(
            asked,
            [
                "authorization: Bearer of-the-program",
                "cookie: a=1; b=2",
                "cookie: c=3",
                "host: localhost:3000",
                "origin: https://example.com",
                "x-forwarded-for: 10.0.0.1",
                "x-forwarded-host: 3000-box.localhost:8080",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn a_bearer_that_the_platform_knows_does_not_go_on_whatever_it_looks_like() {
        assert_eq!(
            asked(&[("authorization", "Bearer chosen-by-hand")], true),
            ALWAYS
        );
        // Nor does what looks like a key of ours and is not known any more.
        assert_eq!(
            asked(&[("authorization", "Basic x:dtn_old")], false),
            ALWAYS
        );
    }

    #[test]
    fn cookies_stay_on_the_host_that_set_them() {
        let mut headers = map(&[
            ("set-cookie", "a=1; Domain=.localhost; Path=/x; HttpOnly"),
            ("set-cookie", "b=2;domain=localhost"),
            ("set-cookie", "alcove-preview=stolen; Path=/"),
            ("set-cookie", "__Host-alcove-preview=stolen; Path=/; Secure"),
            ("strict-transport-security", "max-age=1; includeSubDomains"),
            ("clear-site-data", "\"cookies\""),
            ("alt-svc", "h3=\":443\""),
            ("location", "/next"),
        ]);
        prepare_response(&mut headers, &place(None), false);
        assert_eq!(
            texts(&headers),
            [
                "location: /next",
                "set-cookie: a=1; Path=/x; HttpOnly",
                "set-cookie: b=2"
            ]
        );
    }

    #[test]
    fn a_page_of_the_paths_form_has_no_origin_and_stays_below_its_path() {
        let mut headers = map(&[
            ("set-cookie", "a=1; Path=/"),
            ("content-security-policy", "default-src 'self'"),
            ("service-worker-allowed", "/"),
            ("location", "/next?a=b"),
        ]);
        prepare_response(&mut headers, &place(Some("/p/box/3000")), false);
        assert_eq!(
            texts(&headers),
            [
                "content-security-policy: default-src 'self'",
                &format!("content-security-policy: {}", PATH_POLICY.to_str().unwrap()),
                "location: /p/box/3000/next?a=b",
                "set-cookie: a=1; Path=/p/box/3000/",
            ]
        );
        for elsewhere in ["//evil.example/x", "https://example.com/", "next"] {
            let mut headers = map(&[("location", elsewhere)]);
            prepare_response(&mut headers, &place(Some("/p/box/3000")), false);
            assert_eq!(headers[LOCATION], elsewhere);
        }
    }
}
