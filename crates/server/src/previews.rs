//! Where previews are shown.

use std::net::IpAddr;

use alcove_edge::Previews;

use crate::Options;

/// Browsers resolve every name below it to this machine by themselves.
const LOCAL: &str = "localhost";

/// What the proxy takes for previews: names below the host that they are shown under, and below `localhost`, where the
/// machine itself finds them.
pub(crate) fn of(options: &Options) -> Previews {
    let mut domains = vec![without_port(&host(options)).to_ascii_lowercase()];
    if domains.iter().all(|domain| domain != LOCAL) {
        domains.push(LOCAL.to_owned());
    }
    Previews {
        domains,
        is_https: scheme(&options.public_url) == "https",
        trusted_proxies: options.trusted_proxies.clone(),
        warns: options.warns_of_previews,
    }
}

/// The host below which previews are shown, with its port: the one that is set, else the public URL's if it has a name,
/// else `localhost` with the public URL's port.
pub(crate) fn host(options: &Options) -> String {
    if let Some(host) = &options.preview_host {
        return host.clone();
    }
    let authority = options.public_url.split_once("://");
    let authority = authority.map_or(options.public_url.as_str(), |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let name = without_port(authority);
    if name.is_empty() || name.starts_with('[') || name.parse::<IpAddr>().is_ok() {
        let port = authority.get(name.len()..).unwrap_or_default();
        return format!("{LOCAL}{port}");
    }
    authority.to_owned()
}

pub(crate) fn scheme(public_url: &str) -> &str {
    public_url
        .split_once("://")
        .map_or("http", |(scheme, _)| scheme)
}

fn without_port(host: &str) -> &str {
    let end = if host.starts_with('[') {
        host.find(']').map_or(host.len(), |bracket| bracket + 1)
    } else {
        host.find(':').unwrap_or(host.len())
    };
    &host[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(public_url: &str, preview_host: Option<&str>) -> Options {
        Options {
            public_url: public_url.to_owned(),
            preview_host: preview_host.map(str::to_owned),
            ..Options::default()
        }
    }

    #[test]
    fn previews_are_below_a_name_of_the_server_or_of_the_machine_itself() {
        for (url, given, host, domains) in [
            (
                "http://127.0.0.1:3000",
                None,
                "localhost:3000",
                &["localhost"][..],
            ),
            ("http://[::1]:3000", None, "localhost:3000", &["localhost"]),
            ("http://10.0.0.1", None, "localhost", &["localhost"]),
            (
                "http://localhost:3000",
                None,
                "localhost:3000",
                &["localhost"],
            ),
            (
                "https://Box.example.com",
                None,
                "Box.example.com",
                &["box.example.com", "localhost"],
            ),
            (
                "https://box.example.com",
                Some("p.example.net:8443"),
                "p.example.net:8443",
                &["p.example.net", "localhost"],
            ),
        ] {
            let options = options(url, given);
            assert_eq!(super::host(&options), host, "{url}");
            assert_eq!(of(&options).domains, domains, "{url}");
            assert_eq!(of(&options).is_https, url.starts_with("https"));
        }
    }
}
