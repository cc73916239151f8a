//! What must be true of any address that a client asks for. The targets of `fuzz/` and the replay of their corpora call it.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri};

use crate::path;
use crate::preview::place::{self, Address};

/// Reads bytes as a request's target and, from the first line feed on, its `Host`.
pub fn addresses(input: &[u8]) {
    let cut = input.iter().position(|byte| *byte == b'\n');
    let (target, host) = input.split_at(cut.unwrap_or(input.len()));
    let Ok(uri) = Uri::try_from(target) else {
        return;
    };
    let mut headers = HeaderMap::new();
    if let Ok(host) = HeaderValue::from_bytes(host.get(1..).unwrap_or_default()) {
        headers.insert(HOST, host);
    }
    let domains = ["localhost".to_owned(), "p.example.com".to_owned()];
    match place::read(&uri, &headers, &domains) {
        Address::Place(place) => {
            // What decided about the port and what will be dialled are the same one spelling.
            let spelt = if let Some(prefix) = &place.prefix {
                assert_eq!(format!("{prefix}{}", place.path), uri.path());
                prefix.rsplit_once('/').map(|(_, port)| port.to_owned())
            } else {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let host = uri.host().or(host).unwrap_or_default();
                assert!(!place.name.contains('.'));
                host.split_once('-').map(|(port, _)| port.to_owned())
            };
            assert_eq!(spelt, Some(place.port.to_string()));
            assert!(!place.name.is_empty());
            assert!(place.path.starts_with('/') || place.path == "*");
        }
        Address::MissesSlash => assert!(!uri.path().ends_with('/')),
        Address::Malformed | Address::Elsewhere => {}
    }
    if let Some(route) = path::split(uri.path()) {
        assert!(route.tail.starts_with('/'));
        assert!(uri.path().ends_with(route.tail) || route.tail == "/");
    }
    if let Some(query) = uri.query() {
        let clean = path::clean_query(query);
        assert!(path::auth_key(&clean).is_none());
        assert_eq!(path::clean_query(&clean), clean);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use alcove_testkit::fuzz;

    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/addresses");

    #[test]
    fn addresses_hold_for_the_corpus_and_what_is_near_it() {
        fuzz::run(Path::new(CORPUS), 50_000, super::addresses);
    }
}
