//! The proxy that one sandbox's programs are told to use.
//!
//! It is no policy: what the sandbox reaches, the proxy among it, its policy says and what the operator keeps closed.

use std::fmt;
use std::net::Ipv4Addr;

use super::HostName;
use crate::Reason;

/// Longest URL.
const URL_MAX_BYTES: usize = 2048;

/// What programs look for that can use a proxy, and what tells them when not to.
const VARIABLES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
const EXCEPTION_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// What no proxy knows: the sandbox itself, and those that it is linked with.
const EXCEPTIONS: &str = "localhost,127.0.0.1,::1,.sandbox.internal";

/// A URL of the form `http[s]://[USER[:PASSWORD]@]HOST[:PORT][/]`.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundProxy {
    written: String,
    /// The port of the scheme, where none is written.
    implied_port: Option<u16>,
}

/// What is wrong with a URL. It may hold a password and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyParseError {
    #[error(
        "it must have the form http://USER:PASSWORD@HOST:PORT, of http or https, without a path"
    )]
    Form,
    #[error("it must have at most {URL_MAX_BYTES} bytes")]
    Long,
    #[error("its host must be a name or an IPv4 address: sandboxes have no IPv6")]
    Host,
    #[error("its port must be a number from 1 to 65535")]
    Port,
    #[error(
        "user and password must be written with %.. where they are not letters, digits or -._~!$&'()*+,;="
    )]
    Login,
}

impl OutboundProxy {
    pub fn parse(text: &str) -> Result<Self, ProxyParseError> {
        if text.len() > URL_MAX_BYTES {
            return Err(ProxyParseError::Long);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ProxyParseError::Form)?;
        let port_of_scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(ProxyParseError::Form),
        };
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains(['/', '?', '#', '\\']) {
            return Err(ProxyParseError::Form);
        }
        let place = match place.rsplit_once('@') {
            Some((login, place)) if is_login(login) => place,
            Some(_) => return Err(ProxyParseError::Login),
            None => place,
        };
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        };
        if host.parse::<Ipv4Addr>().is_err() && HostName::parse(host).is_none() {
            return Err(ProxyParseError::Host);
        }
        if port.is_some_and(|port| !is_port(port)) {
            return Err(ProxyParseError::Port);
        }
        Ok(Self {
            written: text.strip_suffix('/').unwrap_or(text).to_owned(),
            implied_port: port.is_none().then_some(port_of_scheme),
        })
    }

    /// As its owner wrote it, password included.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The variables by which programs find it. Some take another port than others where the URL names none, so it always
    /// does here.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        proxy_variables(match self.implied_port {
            Some(port) => format!("{}:{port}", self.written),
            None => self.written.clone(),
        })
    }
}

/// The variables that tell programs to use the proxy at a URL.
pub fn proxy_variables(url: String) -> impl Iterator<Item = (&'static str, String)> {
    let set = VARIABLES.into_iter().map(move |name| (name, url.clone()));
    let unset = EXCEPTION_VARIABLES.map(|name| (name, EXCEPTIONS.to_owned()));
    set.chain(unset)
}

impl fmt::Debug for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutboundProxy(..)")
    }
}

fn is_login(login: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(byte);
    let mut bytes = login.bytes();
    while let Some(byte) = bytes.next() {
        let is_right = match byte {
            b'%' => {
                let mut is_digit = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
                is_digit() && is_digit()
            }
            byte => is_plain(&byte),
        };
        if !is_right {
            return false;
        }
    }
    !login.is_empty()
}

fn is_port(text: &str) -> bool {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The proxy of a new sandbox. An empty text is none.
pub fn plan_proxy(url: Option<&str>, reasons: &mut Vec<Reason>) -> Option<OutboundProxy> {
    let url = url.filter(|url| !url.is_empty())?;
    OutboundProxy::parse(url)
        .map_err(|error| reasons.push(Reason::invalid(format!("outboundProxyUrl: {error}"))))
        .ok()
}

/// An [`OutboundProxy`] as it is kept: only the control plane can read it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedProxy(pub Vec<u8>);

impl fmt::Debug for SealedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedProxy(..)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_proxy_is_a_url_with_a_host_and_nothing_behind_it() {
        for good in [
            "http://proxy.example.com:3128",
            "https://proxy.example.com",
            "http://user:pa%20ss@192.0.2.1:3128",
            "HTTP://user@proxy:1",
        ] {
            assert_eq!(OutboundProxy::parse(good).unwrap().as_written(), good);
        }
        let slash = OutboundProxy::parse("http://a.example:1/").unwrap();
        assert_eq!(slash.as_written(), "http://a.example:1");
        for (wrong, error) in [
            ("proxy.example.com:3128", ProxyParseError::Form),
            ("socks5://a.example:1", ProxyParseError::Form),
            ("http://a.example:1/path", ProxyParseError::Form),
            ("http://a.example:1?q", ProxyParseError::Form),
            ("http://", ProxyParseError::Host),
            ("http://[::1]:3128", ProxyParseError::Host),
            ("http://0x7f.1:3128", ProxyParseError::Host),
            ("http://a b:1", ProxyParseError::Host),
            ("http://a.example:", ProxyParseError::Port),
            ("http://a.example:0", ProxyParseError::Port),
            ("http://a.example:+1", ProxyParseError::Port),
            ("http://a.example:65536", ProxyParseError::Port),
            ("http://us er:x@a.example:1", ProxyParseError::Login),
            ("http://user:100%@a.example:1", ProxyParseError::Login),
            ("http://@a.example:1", ProxyParseError::Login),
        ] {
            assert_eq!(OutboundProxy::parse(wrong).unwrap_err(), error, "{wrong}");
        }
        let long = format!("http://{}@a.example:1", "x".repeat(URL_MAX_BYTES));
        assert_eq!(OutboundProxy::parse(&long), Err(ProxyParseError::Long));
    }

    #[test]
    fn programs_are_told_a_port_always_and_what_goes_past_the_proxy() {
        let variables = |url: &str| -> Vec<_> {
            let proxy = OutboundProxy::parse(url).unwrap();
            proxy.variables().collect()
        };
        let plain = variables("http://u:p@a.example");
        assert_eq!(
            plain[0],
            ("HTTP_PROXY", "http://u:p@a.example:80".to_owned())
        );
        assert_eq!(plain[3].0, "https_proxy");
        assert_eq!(plain[5], ("no_proxy", EXCEPTIONS.to_owned()));
        assert_eq!(
            variables("https://a.example/")[1].1,
            "https://a.example:443"
        );
    }

    #[test]
    fn a_refusal_and_a_log_hold_no_password() {
        let mut reasons = Vec::new();
        assert_eq!(
            plan_proxy(Some("http://u:secret@a.example:x"), &mut reasons),
            None
        );
        assert_eq!(plan_proxy(Some(""), &mut reasons), None);
        assert_eq!(reasons.len(), 1);
        assert!(!format!("{reasons:?}").contains("secret"));
        let proxy = plan_proxy(Some("http://u:secret@a.example:1"), &mut reasons);
        assert_eq!(format!("{proxy:?}"), "Some(OutboundProxy(..))");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_word_with_one_host(text in "(http|https|x)://[a-z0-9:@%./ \\[\\]\\\\?#\n-]{0,24}") {
            if let Ok(proxy) = OutboundProxy::parse(&text) {
                let place = proxy.as_written().split_once("://").unwrap().1;
                let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
                prop_assert!(place.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte)));
                prop_assert!(!proxy.as_written().contains(char::is_whitespace));
                for (_, value) in proxy.variables().take(4) {
                    let again = OutboundProxy::parse(&value).unwrap();
                    prop_assert_eq!(again.as_written(), value);
                }
            }
        }
    }
}
