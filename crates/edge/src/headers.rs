//! Which headers pass, in both directions.
//!
//! Inside a sandbox runs code that nobody trusts, and it may have replaced the agent. So no credential
//! of the platform goes in, whatever form it has, and nothing comes out that could act on the
//! platform's own origin in a browser.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    AUTHORIZATION, CONNECTION, CONTENT_SECURITY_POLICY, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TE, TRANSFER_ENCODING, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};

/// The secret between us and the agent.
pub(crate) const AGENT_TOKEN: HeaderName = HeaderName::from_static("x-alcove-agent-token");
/// A client's wish that a request does not count as use of the sandbox.
pub(crate) const SKIP_ACTIVITY: HeaderName =
    HeaderName::from_static("x-daytona-skip-last-activity-update");

/// Headers of one hop. `trailer` is not among them: hyper writes trailers only where it is present.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What is between the client and the platform. Everything that starts with `x-alcove-` or
/// `x-forwarded-` goes as well.
const CLIENT_ONLY: [HeaderName; 10] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    EXPECT,
    FORWARDED,
    HeaderName::from_static("x-daytona-authorization"),
    HeaderName::from_static("x-daytona-organization-id"),
    HeaderName::from_static("x-daytona-preview-token"),
    HeaderName::from_static("x-daytona-disable-cors"),
    SKIP_ACTIVITY,
];

/// What an agent may not say on our origin. CORS headers are ours to write.
const NOT_FROM_AGENTS: [HeaderName; 13] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("x-daytona-api-version"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("alt-svc"),
];

/// Whether the client asks for a WebSocket.
pub(crate) fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

/// Whether a header that is a list of words, perhaps in several lines, holds `token`.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes away what is of this hop alone, and what `stays_here`. A WebSocket is asked for at the next hop too, and
/// trailers are taken from it.
pub(crate) fn to_next_hop(headers: &mut HeaderMap, stays_here: impl Fn(&HeaderName) -> bool) {
    let is_upgrade = is_websocket_upgrade(headers);
    let takes_trailers = has_token(headers, &TE, "trailers");
    remove_hop_by_hop(headers);
    let staying: Vec<HeaderName> = headers
        .keys()
        .filter(|name| stays_here(name))
        .cloned()
        .collect();
    for name in staying {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if is_upgrade {
        put_upgrade(headers);
    }
}

/// Turns the client's headers into those for the agent.
pub(crate) fn prepare_request(headers: &mut HeaderMap, token: &HeaderValue) {
    to_next_hop(headers, |name| {
        CLIENT_ONLY.contains(name)
            || name.as_str().starts_with("x-alcove-")
            || name.as_str().starts_with("x-forwarded-")
    });
    headers.insert(HOST, HeaderValue::from_static("agent"));
    headers.insert(AGENT_TOKEN, token.clone());
}

/// Takes away what an answer has of this hop alone, and what `stays_here`.
pub(crate) fn to_client(
    headers: &mut HeaderMap,
    is_upgrade: bool,
    stays_here: impl Fn(&HeaderName) -> bool,
) {
    remove_hop_by_hop(headers);
    let staying: Vec<HeaderName> = headers
        .keys()
        .filter(|name| stays_here(name))
        .cloned()
        .collect();
    for name in staying {
        headers.remove(name);
    }
    if is_upgrade {
        put_upgrade(headers);
    }
}

/// Turns the agent's headers into those for the client.
pub(crate) fn prepare_response(headers: &mut HeaderMap, is_upgrade: bool) {
    to_client(headers, is_upgrade, |name| {
        NOT_FROM_AGENTS.contains(name) || name.as_str().starts_with("x-alcove-")
    });
    // A file of the sandbox that a browser shows must not become a page of the platform.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
}

fn put_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

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

    fn prepared(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = map(pairs);
        prepare_request(&mut headers, &HeaderValue::from_static("secret"));
        headers
    }

    #[test]
    fn what_the_agent_needs_passes() {
        let headers = prepared(&[
            ("x-daytona-sdk-version", "0.226.1"),
            ("x-daytona-source", "sdk-python"),
            ("content-type", "application/json"),
            ("range", "bytes=0-1"),
            ("sec-websocket-protocol", "X-Daytona-SDK-Version~0.2"),
        ]);
        assert_eq!(headers["x-daytona-sdk-version"], "0.226.1");
        assert_eq!(headers["x-daytona-source"], "sdk-python");
        assert_eq!(headers["range"], "bytes=0-1");
        assert_eq!(
            headers["sec-websocket-protocol"],
            "X-Daytona-SDK-Version~0.2"
        );
        assert_eq!(headers["x-alcove-agent-token"], "secret");
    }

    #[test]
    fn a_client_can_neither_bring_nor_drop_the_agent_token() {
        let headers = prepared(&[
            ("X-Alcove-Agent-Token", "forged"),
            ("Connection", "X-Alcove-Agent-Token, close"),
        ]);
        let tokens: Vec<_> = headers.get_all("x-alcove-agent-token").iter().collect();
        assert_eq!(tokens, ["secret"]);
    }

    #[test]
    fn an_upgrade_is_passed_on_and_any_other_protocol_is_not() {
        let headers = prepared(&[
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "WebSocket"),
        ]);
        assert_eq!(headers["connection"], "Upgrade");
        assert_eq!(headers["upgrade"], "websocket");
        let headers = prepared(&[
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
        ]);
        assert!(!headers.contains_key("connection") && !headers.contains_key("upgrade"));
    }

    #[test]
    fn an_agent_cannot_act_on_our_origin() {
        let mut headers = map(&[
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-type", "text/html"),
        ]);
        prepare_response(&mut headers, false);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            [
                "content-type",
                "x-content-type-options",
                "content-security-policy"
            ]
        );
    }

    fn any_headers() -> impl Strategy<Value = Vec<(String, String)>> {
        let known: Vec<String> = HOP_BY_HOP
            .iter()
            .chain(&CLIENT_ONLY)
            .chain(&NOT_FROM_AGENTS)
            .map(ToString::to_string)
            .chain([
                "x-alcove-agent-token".to_owned(),
                "x-forwarded-for".to_owned(),
            ])
            .collect();
        let name = prop_oneof![
            prop::sample::select(known.clone()),
            "[a-z][a-z-]{0,10}".prop_map(|name| name)
        ];
        let value = prop_oneof![
            "[ -~]{0,20}".prop_map(|value| value),
            prop::sample::subsequence(known, 0..4).prop_map(|names| names.join(", ")),
        ];
        prop::collection::vec((name, value), 0..12)
    }

    proptest! {
        #[test]
        fn nothing_of_the_clients_hop_reaches_the_agent(pairs in any_headers()) {
            let pairs: Vec<(&str, &str)> =
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let original = map(&pairs);
            let headers = prepared(&pairs);
            for name in &CLIENT_ONLY {
                prop_assert!(!headers.contains_key(name), "{}", name);
            }
            for name in &HOP_BY_HOP {
                let allowed = matches!(name, &CONNECTION | &UPGRADE)
                    && is_websocket_upgrade(&original)
                    || name == TE && headers.get(TE).is_some_and(|value| value == "trailers");
                prop_assert!(allowed || !headers.contains_key(name), "{}", name);
            }
            prop_assert_eq!(headers.get_all(&AGENT_TOKEN).iter().count(), 1);
            prop_assert_eq!(&headers[AGENT_TOKEN], "secret");
            // What is left of the client's headers is unchanged.
            for name in headers.keys() {
                if [AGENT_TOKEN, HOST, TE, CONNECTION, UPGRADE].contains(name) {
                    continue;
                }
                prop_assert!(headers.get_all(name).iter().eq(original.get_all(name).iter()));
            }
        }

        #[test]
        fn nothing_that_acts_on_our_origin_comes_out(pairs in any_headers()) {
            let pairs: Vec<(&str, &str)> =
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let mut headers = map(&pairs);
            prepare_response(&mut headers, false);
            for name in NOT_FROM_AGENTS.iter().chain(&HOP_BY_HOP).chain([&AGENT_TOKEN]) {
                prop_assert!(!headers.contains_key(name), "{}", name);
            }
        }
    }
}
