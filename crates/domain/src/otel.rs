//! Where an organization has the telemetry of its sandboxes sent, as it says itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::Reason;
use crate::network::is_public;
use crate::webhook::url::split;

/// What stands for the value of a header wherever an endpoint is shown.
pub const MASK: &str = "******";
/// Longest address, in bytes.
const ENDPOINT_MAX_BYTES: usize = 2048;
/// Headers of one endpoint.
const HEADERS_MAX: usize = 32;
/// Longest name of a header, in bytes.
const NAME_MAX_BYTES: usize = 128;
/// Longest value of a header, in bytes.
const VALUE_MAX_BYTES: usize = 4096;
/// Headers that are the sender's own, or belong to the connection.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// An endpoint that speaks OTLP over HTTP, and what is sent along to it.
#[derive(Clone, PartialEq, Eq)]
pub struct OtelTarget {
    /// Without a slash at the end; the path of a signal is put behind it.
    pub endpoint: String,
    /// Secrets, as a rule.
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for OtelTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelTarget")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers.keys())
            .finish()
    }
}

impl OtelTarget {
    /// As it may be shown: which headers there are, and not what is in them.
    #[must_use]
    pub fn masked(&self) -> Self {
        let names = self.headers.keys();
        Self {
            endpoint: self.endpoint.clone(),
            headers: names.map(|name| (name.clone(), MASK.to_owned())).collect(),
        }
    }
}

/// What a caller says of an endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct OtelRequest {
    pub endpoint: String,
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for OtelRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelRequest")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl OtelRequest {
    /// The endpoint, or everything that is wrong with it. A header whose value is the mask stays as it was `before`. `is_known`
    /// tells which hosts the operator has named: those may be at private addresses.
    pub fn check(
        self,
        before: Option<&OtelTarget>,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<OtelTarget, Vec<Reason>> {
        let mut reasons = Vec::new();
        reasons.extend(endpoint_fault(&self.endpoint, is_known));
        if self.headers.len() > HEADERS_MAX {
            reasons.push(Reason::invalid(format!(
                "headers must be at most {HEADERS_MAX}"
            )));
        }
        let mut headers = BTreeMap::new();
        for (name, value) in self.headers {
            if !is_name(&name) {
                reasons.push(Reason::invalid(
                    "headers must have names of headers, and none that belong to the connection",
                ));
                continue;
            }
            let name = name.to_ascii_lowercase();
            let kept = before.and_then(|target| target.headers.get(&name));
            let value = match kept {
                Some(kept) if value == MASK => kept.clone(),
                _ => value,
            };
            if value == MASK || !is_value(&value) {
                reasons.push(Reason::invalid(format!(
                    "header {name} must have a value of at most {VALUE_MAX_BYTES} visible ASCII characters"
                )));
            }
            if headers.insert(name.clone(), value).is_some() {
                reasons.push(Reason::invalid(format!("header {name} stands there twice")));
            }
        }
        if reasons.is_empty() {
            Ok(OtelTarget {
                endpoint: self.endpoint.trim_end_matches('/').to_owned(),
                headers,
            })
        } else {
            Err(reasons)
        }
    }
}

/// Whether a name leads to a public address is seen when it is connected to; an address that is none is refused here.
fn endpoint_fault(text: &str, is_known: impl Fn(&str) -> bool) -> Option<Reason> {
    let wrong = || {
        Some(Reason::invalid(
            "endpoint must be an http or https URL without user, password, query and fragment",
        ))
    };
    if text.len() > ENDPOINT_MAX_BYTES {
        return Some(Reason::invalid(format!(
            "endpoint must have at most {ENDPOINT_MAX_BYTES} bytes"
        )));
    }
    let Some((_, host)) = split(text).filter(|_| !text.contains('?')) else {
        return wrong();
    };
    let is_closed = host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip));
    (is_closed && !is_known(&host)).then(|| Reason::invalid("endpoint must be at a public address"))
}

fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(is_token)
        && !RESERVED.contains(&name.to_ascii_lowercase().as_str())
}

fn is_value(value: &str) -> bool {
    let is_ink = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    value.len() <= VALUE_MAX_BYTES && value.bytes().all(is_ink)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn request(endpoint: &str, headers: &[(&str, &str)]) -> OtelRequest {
        let headers = headers.iter();
        OtelRequest {
            endpoint: endpoint.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn check(request: OtelRequest) -> Result<OtelTarget, Vec<Reason>> {
        request.check(None, |host| host == "10.0.0.1")
    }

    #[test]
    fn an_endpoint_is_an_address_that_can_be_reached() {
        for (good, kept) in [
            ("https://otlp.example.com/", "https://otlp.example.com"),
            (
                "http://otlp.example.com:4318/a/",
                "http://otlp.example.com:4318/a",
            ),
            ("http://10.0.0.1", "http://10.0.0.1"),
        ] {
            assert_eq!(check(request(good, &[])).unwrap().endpoint, kept);
        }
        for bad in [
            "",
            "otlp.example.com",
            "grpc://otlp.example.com",
            "https://a:b@otlp.example.com",
            "https://otlp.example.com?a=b",
            "https://otlp.example.com#a",
            "http://127.0.0.1:4318",
            "http://[::1]",
            "http://10.0.0.2",
        ] {
            assert!(check(request(bad, &[])).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_what_can_be_sent_and_no_others() {
        let good = check(request("https://a.com", &[("X-Key", "s e c r e t")])).unwrap();
        assert_eq!(good.headers["x-key"], "s e c r e t");
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("Host", "x"),
            ("content-type", "x"),
            ("x", "a\r\nb: c"),
            ("x", "\u{e4}"),
            ("x", MASK),
        ] {
            let checked = check(request("https://a.com", &[(name, value)]));
            assert!(checked.is_err(), "{name}: {value}");
        }
        let twice = [("X-Key", "a"), ("x-key", "b")];
        assert!(check(request("https://a.com", &twice)).is_err());
    }

    #[test]
    fn a_header_that_comes_back_masked_stays_as_it_was() {
        let before = check(request("https://a.com", &[("x-key", "secret")])).unwrap();
        assert_eq!(before.masked().headers["x-key"], MASK);
        assert!(!format!("{before:?}").contains("secret"));
        let again = request("https://b.com", &[("X-Key", MASK)]);
        let after = again.check(Some(&before), |_| false).unwrap();
        assert_eq!(after.endpoint, "https://b.com");
        assert_eq!(after.headers["x-key"], "secret");
    }
}
