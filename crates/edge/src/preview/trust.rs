//! Proxies in front of this server, and what they say of a client.
//!
//! Anybody can write `X-Forwarded-For`. It counts only from an address that the operator named.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::proxy::Arrival;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Longest list of addresses that is passed on.
const CHAIN_MAX_BYTES: usize = 1024;

/// What is known of how a client came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The value of `X-Forwarded-For` for the program.
    pub chain: Option<HeaderValue>,
    pub is_https: bool,
}

fn is_trusted(trusted: &[IpNet], peer: IpAddr) -> bool {
    // A listener of both families tells an IPv4 peer in this form.
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// The peer is what the connection says; what it says of others counts if it is trusted.
pub(crate) fn seen(trusted: &[IpNet], arrival: Option<Arrival>, headers: &HeaderMap) -> Seen {
    let Some(arrival) = arrival else {
        return Seen {
            chain: None,
            is_https: false,
        };
    };
    let peer = arrival.peer.ip().to_canonical().to_string();
    let mut seen = Seen {
        chain: HeaderValue::from_str(&peer).ok(),
        is_https: arrival.is_tls,
    };
    if !is_trusted(trusted, arrival.peer.ip()) {
        return seen;
    }
    if let Some(scheme) = headers.get(X_FORWARDED_PROTO) {
        // The nearest proxy writes last.
        let last = scheme.as_bytes().rsplit(|byte| *byte == b',').next();
        seen.is_https = last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"https"));
    }
    let mut chain: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|address| address.parse::<IpAddr>().is_ok())
        .collect();
    chain.push(&peer);
    let chain = chain.join(", ");
    if chain.len() <= CHAIN_MAX_BYTES {
        seen.chain = HeaderValue::from_str(&chain).ok();
    }
    seen
}

/// Where a client is: the peer, or whom the nearest proxies that are trusted name, each for the one before it.
pub(crate) fn client(
    trusted: &[IpNet],
    arrival: Option<Arrival>,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    let mut client = arrival?.peer.ip().to_canonical();
    let chain: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .collect();
    for named in chain.into_iter().rev() {
        if !is_trusted(trusted, client) {
            break;
        }
        // What cannot be read hides what is before it.
        match named.trim().parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    Some(client)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn told(peer: &str, headers: &[(HeaderName, &str)]) -> (String, bool) {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let arrival = Arrival {
            peer: peer.parse().unwrap(),
            is_tls: false,
        };
        let seen = seen(&trusted, Some(arrival), &map);
        let chain = seen.chain.unwrap();
        (chain.to_str().unwrap().to_owned(), seen.is_https)
    }

    #[test]
    fn what_a_client_says_of_itself_counts_only_from_a_proxy_of_ours() {
        let forged = [(X_FORWARDED_FOR, "1.1.1.1"), (X_FORWARDED_PROTO, "https")];
        assert_eq!(told("9.9.9.9:1", &forged), ("9.9.9.9".to_owned(), false));
        let chain = "1.1.1.1, 10.1.2.3".to_owned();
        assert_eq!(told("10.1.2.3:1", &forged), (chain.clone(), true));
        assert_eq!(told("[::ffff:10.1.2.3]:1", &forged), (chain, true));
        assert_eq!(told("[fd00::1]:1", &[]), ("fd00::1".to_owned(), false));
    }

    #[test]
    fn a_client_is_where_the_last_proxy_that_is_trusted_saw_it() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, chain, client) in [
            ("9.9.9.9:1", "1.1.1.1", "9.9.9.9"),
            ("10.0.0.1:1", "1.1.1.1", "1.1.1.1"),
            ("[::ffff:10.0.0.1]:1", "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1:1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
            ("10.0.0.1:1", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1:1", "", "10.0.0.1"),
            ("10.0.0.1:1", "10.0.0.3", "10.0.0.3"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(X_FORWARDED_FOR, HeaderValue::from_str(chain).unwrap());
            let arrival = Arrival {
                peer: peer.parse().unwrap(),
                is_tls: false,
            };
            let found = super::client(&trusted, Some(arrival), &headers);
            assert_eq!(found, Some(client.parse().unwrap()), "{peer} {chain}");
        }
        assert_eq!(super::client(&trusted, None, &HeaderMap::new()), None);
    }

    #[test]
    fn the_nearest_proxy_has_the_last_word_and_no_text_but_addresses_passes() {
        let headers = [
            (X_FORWARDED_FOR, "evil\u{7f}, 2.2.2.2,<b>"),
            (X_FORWARDED_FOR, "3.3.3.3"),
            (X_FORWARDED_PROTO, "https, http"),
        ];
        let headers = headers.map(|(name, value)| (name, value.replace('\u{7f}', "x")));
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str()))
            .collect();
        let told = told("10.0.0.1:1", &headers);
        assert_eq!(told, ("2.2.2.2, 3.3.3.3, 10.0.0.1".to_owned(), false));
    }
}
