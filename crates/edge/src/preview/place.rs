//! Which sandbox and port an address means.
//!
//! Two forms mean the same: a host name of their own, `{port}-{place}.{domain}`, and a path on the server's own name,
//! `/p/{place}/{port}/…`, for where such names do not exist. The place is an id, a name, or a signed label.

use alcove_domain::Port;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

/// What an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub name: String,
    pub port: Port,
    /// In the form of a path: what stands before the part that the program gets, without a slash at the end.
    pub prefix: Option<String>,
    /// The path that the program gets, as the client wrote it.
    pub path: String,
}

/// What the proxy has to do with an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Place(Place),
    /// It is below a name or path of previews, and means none.
    Malformed,
    /// The last slash of a path's form is missing: relative links would lead elsewhere.
    MissesSlash,
    Elsewhere,
}

/// Names below these are previews, such as `localhost`.
pub(crate) fn read(uri: &Uri, headers: &HeaderMap, domains: &[String]) -> Address {
    if let Some(label) = host(uri, headers).and_then(|host| label(&host, domains)) {
        return match split_label(&label) {
            // CONNECT has no path: it asks for a tunnel to a host, which nobody gets here.
            Some((port, name)) if !uri.path().is_empty() => Address::Place(Place {
                name: name.to_owned(),
                port,
                prefix: None,
                path: uri.path().to_owned(),
            }),
            Some(_) | None => Address::Malformed,
        };
    }
    from_path(uri.path())
}

/// Host and port that a request is for, as the client wrote them.
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let from_uri = uri.authority().map(http::uri::Authority::as_str);
    from_uri.or_else(|| headers.get(HOST)?.to_str().ok())
}

/// Whether no page of another origin asks. Browsers tell the origin of what may change something, and of each WebSocket;
/// a request without one is no page's, or one of the page itself.
pub(crate) fn is_own_origin(uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    // The port that a scheme has by itself is not written.
    let plain = |authority: &str, port: &str| {
        let plain = authority.strip_suffix(port).unwrap_or(authority);
        plain.to_ascii_lowercase()
    };
    let is_same = |origin: &str| {
        let (scheme, origin) = origin.split_once("://")?;
        let port = if scheme == "https" { ":443" } else { ":80" };
        Some(plain(authority(uri, headers)?, port) == plain(origin, port))
    };
    origin.to_str().ok().and_then(is_same).unwrap_or(false)
}

/// Whether the page that asks is one of this sandbox, of whichever port, called by the same name.
pub(crate) fn is_origin_of(headers: &HeaderMap, place: &Place, domains: &[String]) -> bool {
    let name = || {
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        let (_, authority) = origin.split_once("://")?;
        let label = label(&plain_host(authority.split(':').next()?), domains)?;
        let (_, name) = split_label(&label)?;
        Some(name == place.name && place.prefix.is_none())
    };
    name().unwrap_or(false)
}

/// The host that a request is for: lower case, without port and last dot.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    // An address in brackets is nobody's preview.
    let from_header = || headers.get(HOST)?.to_str().ok()?.split(':').next();
    Some(plain_host(uri.host().or_else(from_header)?))
}

fn plain_host(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

/// What stands before one of the domains.
fn label(host: &str, domains: &[String]) -> Option<String> {
    domains.iter().find_map(|domain| {
        let label = host.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        Some(label.to_owned())
    })
}

fn split_label(label: &str) -> Option<(Port, &str)> {
    let (port, name) = label.split_once('-')?;
    let port = port.parse().ok()?;
    (!name.is_empty() && !name.contains('.')).then_some((port, name))
}

fn from_path(path: &str) -> Address {
    let Some(rest) = path.strip_prefix("/p/") else {
        return Address::Elsewhere;
    };
    let read = || {
        let (name, rest) = rest.split_once('/')?;
        let (port, tail) = match rest.split_once('/') {
            Some((port, _)) => (port, Some(rest.get(port.len()..)?)),
            None => (rest, None),
        };
        let name = percent_decode_str(name).decode_utf8().ok()?;
        let prefix = path.strip_suffix(tail.unwrap_or_default())?;
        let place = Place {
            name: name.into_owned(),
            port: port.parse().ok()?,
            prefix: Some(prefix.to_owned()),
            path: tail.unwrap_or("/").to_owned(),
        };
        (!place.name.is_empty()).then_some((place, tail.is_some()))
    };
    match read() {
        Some((place, true)) => Address::Place(place),
        Some((_, false)) => Address::MissesSlash,
        None => Address::Malformed,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn domains() -> Vec<String> {
        vec!["localhost".to_owned(), "p.example.com".to_owned()]
    }

    fn by_host(host: &str) -> Address {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        read(&"/a%2Fb?c".parse().unwrap(), &headers, &domains())
    }

    fn by_path(path: &str) -> Address {
        read(&path.parse().unwrap(), &HeaderMap::new(), &domains())
    }

    fn place(name: &str, port: u16, prefix: Option<&str>, path: &str) -> Address {
        Address::Place(Place {
            name: name.to_owned(),
            port: Port::new(port).unwrap(),
            prefix: prefix.map(str::to_owned),
            path: path.to_owned(),
        })
    }

    #[test]
    fn a_host_names_a_port_and_a_sandbox() {
        for host in [
            "3000-my-box.localhost",
            "3000-MY-box.LOCALHOST:8080",
            "3000-my-box.p.example.com.",
            "3000-my-box.p.example.com.:443",
        ] {
            // The dot before a port is only taken off where there is none.
            let expected = place("my-box", 3000, None, "/a%2Fb");
            assert_eq!(by_host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_name_below_the_domain_that_means_none_goes_to_nobody() {
        for host in [
            "02280-box.localhost",
            "+80-box.localhost",
            "0-box.localhost",
            "65536-box.localhost",
            "80.localhost",
            "80-.localhost",
            "-box.localhost",
            "www.localhost",
            "80-a.b.localhost",
            ".localhost",
        ] {
            assert_eq!(by_host(host), Address::Malformed, "{host}");
        }
    }

    #[test]
    fn other_hosts_are_the_servers() {
        for host in [
            "localhost",
            "localhost:3000",
            "127.0.0.1:3000",
            "[::1]:3000",
            "80-box.otherlocalhost",
            "80-box.example.com",
            "80-box.localhost.evil.example",
            "",
        ] {
            assert_eq!(by_host(host), Address::Elsewhere, "{host}");
        }
    }

    #[test]
    fn the_authority_of_the_request_counts_before_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("81-b.localhost"));
        let uri = "http://80-a.localhost:3000/x".parse().unwrap();
        assert_eq!(read(&uri, &headers, &domains()), place("a", 80, None, "/x"));
    }

    #[test]
    fn a_tunnel_to_a_host_is_no_preview() {
        let uri = "80-box.localhost:80".parse().unwrap();
        let address = read(&uri, &HeaderMap::new(), &domains());
        assert_eq!(address, Address::Malformed);
    }

    #[test]
    fn the_origin_of_a_page_is_its_scheme_host_and_port() {
        let from = |host: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            headers
        };
        let uri = Uri::from_static("/");
        let Address::Place(place) = by_host("80-box.localhost") else {
            panic!("a place");
        };
        assert!(is_own_origin(&uri, &HeaderMap::new()));
        for (host, origin, is_own, is_sandboxs) in [
            (
                "80-box.localhost:3000",
                "http://80-box.localhost:3000",
                true,
                true,
            ),
            (
                "80-Box.localhost:443",
                "https://80-box.localhost",
                true,
                true,
            ),
            (
                "80-box.localhost",
                "https://80-box.localhost:443",
                true,
                true,
            ),
            (
                "80-box.localhost:3000",
                "http://81-box.localhost:3000",
                false,
                true,
            ),
            (
                "80-box.localhost:3000",
                "http://80-box.localhost",
                false,
                true,
            ),
            (
                "80-box.localhost:3000",
                "http://80-evil.localhost:3000",
                false,
                false,
            ),
            (
                "80-box.localhost:3000",
                "http://box.localhost:3000",
                false,
                false,
            ),
            (
                "80-box.localhost:3000",
                "https://page.example",
                false,
                false,
            ),
            ("80-box.localhost:3000", "null", false, false),
            ("80-box.localhost:3000", "", false, false),
        ] {
            let headers = from(host, origin);
            assert_eq!(is_own_origin(&uri, &headers), is_own, "{host} {origin}");
            let is_its = is_origin_of(&headers, &place, &domains());
            assert_eq!(is_its, is_sandboxs, "{host} {origin}");
        }
        let headers = from("server", "http://80-box.localhost");
        let Address::Place(by_path) = by_path("/p/box/80/") else {
            panic!("a place");
        };
        assert!(!is_origin_of(&headers, &by_path, &domains()));
    }

    #[test]
    fn a_path_means_the_same_as_a_host() {
        for (path, expected) in [
            ("/p/box/80/", place("box", 80, Some("/p/box/80"), "/")),
            (
                "/p/my%20box/80/a%2Fb//c",
                place("my box", 80, Some("/p/my%20box/80"), "/a%2Fb//c"),
            ),
            (
                "/p/box/80/../81/x",
                place("box", 80, Some("/p/box/80"), "/../81/x"),
            ),
            ("/p/box/80", Address::MissesSlash),
            ("/p/box/080/", Address::Malformed),
            ("/p/box", Address::Malformed),
            ("/p//80/", Address::Malformed),
            ("/p/%ff/80/", Address::Malformed),
            ("/p", Address::Elsewhere),
            ("/px/box/80/", Address::Elsewhere),
            ("/api/p/box/80/", Address::Elsewhere),
        ] {
            assert_eq!(by_path(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_host_breaks_the_reading(host in "[ -~]{0,40}") {
            let _ = by_host(&host);
        }

        #[test]
        fn prefix_and_path_are_what_was_asked_for(name in "[a-z0-9-]{1,10}", port in 1_u16.., tail in "(/[!-.0-~]{0,8}){1,4}") {
            let path = format!("/p/{name}/{port}{tail}");
            let Ok(uri) = path.parse::<Uri>() else {
                return Ok(());
            };
            if let Address::Place(place) = read(&uri, &HeaderMap::new(), &domains()) {
                prop_assert_eq!(place.prefix.unwrap() + &place.path, uri.path());
            }
        }
    }
}
