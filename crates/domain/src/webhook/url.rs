//! The address of an endpoint.

use std::fmt;
use std::net::IpAddr;

use crate::Reason;
use crate::network::is_public;

const MAX_BYTES: usize = 2048;

/// An address that messages can be sent to: `https`, or `http` at a host that the operator has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    text: String,
    host: String,
}

impl WebhookUrl {
    /// Reads what is kept: what was allowed once is not asked about again.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self {
            text: text.to_owned(),
            host: split(text)?.1,
        })
    }

    /// Reads what a caller wrote. Whether a name leads to a public address is seen when it is connected to; an address that
    /// is none is refused here already.
    pub fn plan(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, Reason> {
        let wrong =
            || Reason::invalid("url must be an https URL without user, password and fragment");
        if text.len() > MAX_BYTES {
            return Err(Reason::invalid(format!(
                "url must have at most {MAX_BYTES} bytes"
            )));
        }
        let (is_plain, host) = split(text).ok_or_else(wrong)?;
        if !is_known(&host) {
            if is_plain {
                return Err(wrong());
            }
            if host
                .parse::<IpAddr>()
                .is_ok_and(|address| !is_public(address))
            {
                return Err(Reason::invalid("url must be at a public address"));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            host,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In small letters; an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether there is no TLS, and the host. None for what is no such URL.
pub(crate) fn split(text: &str) -> Option<(bool, String)> {
    let is_ink = |byte: u8| byte.is_ascii_graphic();
    if !text.bytes().all(is_ink) || text.contains(['#', '\\', '"', '<', '>']) {
        return None;
    }
    let (is_plain, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return None,
    };
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return None,
        };
        (host, port)
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_inner);
    (is_host && port.is_none_or(is_port)).then(|| (is_plain, host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn planned(text: &str) -> Option<String> {
        let url = WebhookUrl::plan(text, |host| host == "known.internal").ok()?;
        Some(url.host().to_owned())
    }

    #[test]
    fn a_url_is_taken_with_its_host() {
        for (text, host) in [
            ("https://example.com", "example.com"),
            ("https://Example.com:8443/a/b?c=d", "example.com"),
            ("https://1.1.1.1/", "1.1.1.1"),
            ("https://[2600:1f18::1]:1/x", "2600:1f18::1"),
            ("http://known.internal:80/x", "known.internal"),
        ] {
            assert_eq!(planned(text).as_deref(), Some(host), "{text}");
        }
    }

    #[test]
    fn what_is_no_public_address_of_the_web_is_refused() {
        for text in [
            "",
            "example.com",
            "http://example.com",
            "ftp://example.com",
            "https://",
            "https:///x",
            "https://user@example.com",
            "https://u:p@example.com/",
            "https://example.com:0/",
            "https://example.com:x/",
            "https://example.com:70000/",
            "https://example.com/#a",
            "https://exa mple.com/",
            "https://example.com/\n",
            "https://ex\u{e4}mple.com/",
            "https://127.0.0.1/",
            "https://10.0.0.1:8443/x",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::1/",
            "https://[::1]x/",
        ] {
            assert_eq!(planned(text), None, "{text}");
        }
        assert_eq!(
            planned(&format!("https://a.com/{}", "x".repeat(MAX_BYTES))),
            None
        );
    }

    proptest! {
        #[test]
        fn whatever_is_taken_reads_the_same_again(text in "https?://[a-z0-9.:\\[\\]@/?#-]{0,40}") {
            if let Ok(url) = WebhookUrl::plan(&text, |_| true) {
                prop_assert_eq!(WebhookUrl::parse(url.as_str()).unwrap(), url);
            }
        }
    }
}
