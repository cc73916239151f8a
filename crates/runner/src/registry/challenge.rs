//! What a registry wants to see of who asks: the header `WWW-Authenticate`, and the answer of its token service.

use http_auth::parse_challenges;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// What stands for itself in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    /// With a token that this address gives out.
    Token {
        address: String,
    },
}

impl Challenge {
    /// The way to go, of those that the headers name; a token before a password.
    pub fn choose<'a>(headers: impl Iterator<Item = &'a str>, repository: &str) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            for challenge in parse_challenges(header).unwrap_or_default() {
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
                if !challenge.scheme.eq_ignore_ascii_case("bearer") {
                    continue;
                }
                let find = |name: &str| {
                    let mut params = challenge.params.iter();
                    let found = params.find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if let Some(realm) = find("realm") {
                    let address = token_address(&realm, find("service").as_deref(), repository);
                    return Some(Self::Token { address });
                }
            }
        }
        basic
    }
}

/// Asks for what is needed and nothing more, whatever the registry proposes.
fn token_address(realm: &str, service: Option<&str>, repository: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let start = if realm.contains('?') { '&' } else { '?' };
    let scope = encode(&format!("repository:{repository}:pull"));
    let service = service.map_or_else(String::new, |service| {
        format!("service={}&", encode(service))
    });
    format!("{realm}{start}{service}scope={scope}")
}

/// What a token service answers; which of the two fields it uses differs.
#[derive(Deserialize)]
pub struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    pub fn into_token(self) -> Option<String> {
        let given = self.token.or(self.access_token);
        given.filter(|token| !token.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(headers: &[&str]) -> Option<Challenge> {
        Challenge::choose(headers.iter().copied(), "library/python")
    }

    #[test]
    fn a_token_is_asked_for_with_the_scope_that_is_needed() {
        let header =
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="x:y:*""#;
        let address = "https://auth.example/token?service=registry.example&\
                       scope=repository%3Alibrary%2Fpython%3Apull";
        let expected = Challenge::Token {
            address: address.to_owned(),
        };
        assert_eq!(choose(&[header]), Some(expected.clone()));
        assert_eq!(choose(&["Basic realm=\"x\"", header]), Some(expected));
    }

    #[test]
    fn a_realm_with_a_query_keeps_it() {
        let found = choose(&[r#"bearer realm="https://auth.example/t?a=b""#]);
        let Some(Challenge::Token { address }) = found else {
            panic!("no token: {found:?}");
        };
        assert!(address.starts_with("https://auth.example/t?a=b&scope="));
    }

    #[test]
    fn a_password_is_asked_for_by_name() {
        assert_eq!(choose(&["Basic realm=\"x\""]), Some(Challenge::Basic));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for header in [
            "",
            "Bearer",
            "Negotiate",
            "Bearer realm",
            "\u{e9}=",
            "Bearer service=\"x\"",
        ] {
            assert_eq!(choose(&[header]), None, "{header:?}");
        }
    }
}
