//! Registries of images, as a client of theirs: which there are, how they are reached, and what they answer.
//!
//! The image that is asked for is anybody's choice, and so are the registry and all that it says. So every answer has a
//! bound, and addresses of the host and of private networks are asked only where the operator has named the registry.

mod challenge;
mod client;
mod error;
mod resolver;

use std::collections::BTreeMap;
use std::path::PathBuf;

use alcove_runner_api::RegistryCredentials;
use oci_spec::distribution::Reference;

pub(crate) use self::client::trusted;
pub use self::client::{Blob, Client};
pub use self::error::RegistryError;
pub(crate) use self::resolver::{NOT_PUBLIC, PublicOnly};

/// The name of the public registry, and the host that answers for it.
const PUBLIC: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How one registry is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostSettings {
    /// Plain HTTP, without TLS.
    pub is_insecure: bool,
    /// Certificates to trust beside the host's, as a PEM file.
    pub ca: Option<PathBuf>,
    /// Registries that are asked before this one, in order.
    pub mirrors: Vec<String>,
    /// For use as a mirror; who pulls from the registry itself brings credentials along.
    pub credentials: Option<RegistryCredentials>,
}

/// What the operator says about registries. One that is not named is reached by TLS, at public addresses only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistrySettings {
    /// By host, with its port where it is not the usual one.
    pub hosts: BTreeMap<String, HostSettings>,
}

/// One place that may have an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    pub host: String,
    pub is_insecure: bool,
    pub ca: Option<PathBuf>,
    pub credentials: Option<RegistryCredentials>,
}

impl RegistrySettings {
    /// Of an operator who says nothing of these hosts but that they may be asked.
    pub(crate) fn naming(hosts: &[String]) -> Self {
        let hosts = hosts.iter().cloned();
        Self {
            hosts: hosts.map(|host| (host, HostSettings::default())).collect(),
        }
    }

    /// Where to ask for an image of `registry`, mirrors first. `is_plain` is whether who asks wants it without TLS.
    pub fn endpoints(
        &self,
        registry: &str,
        credentials: Option<&RegistryCredentials>,
        is_plain: bool,
    ) -> Vec<Endpoint> {
        let settings = self.hosts.get(registry);
        let mirrors = settings.into_iter().flat_map(|settings| &settings.mirrors);
        let mut endpoints: Vec<Endpoint> = mirrors
            .map(|mirror| {
                let settings = self.hosts.get(mirror);
                // Another registry's credentials are none of a mirror's business.
                endpoint(
                    mirror,
                    settings,
                    settings.and_then(|s| s.credentials.as_ref()),
                )
            })
            .collect();
        let host = if registry == PUBLIC.0 {
            PUBLIC.1
        } else {
            registry
        };
        let mut own = endpoint(host, settings, credentials);
        own.is_insecure |= is_plain;
        endpoints.push(own);
        endpoints
    }

    /// Whether the operator speaks of this host, whatever the port.
    fn knows(&self, host: &str) -> bool {
        let mirrors = self.hosts.values().flat_map(|settings| &settings.mirrors);
        let mut named = self.hosts.keys().chain(mirrors);
        named.any(|named| without_port(named) == host)
    }
}

fn endpoint(
    host: &str,
    settings: Option<&HostSettings>,
    credentials: Option<&RegistryCredentials>,
) -> Endpoint {
    Endpoint {
        host: host.to_owned(),
        is_insecure: settings.is_some_and(|settings| settings.is_insecure),
        ca: settings.and_then(|settings| settings.ca.clone()),
        credentials: credentials.cloned(),
    }
}

/// The host of a registry: its name or address, without brackets.
pub(crate) fn without_port(registry: &str) -> &str {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Takes a reference apart. Without tag and digest it means `latest`.
///
/// # Errors
/// [`RegistryError::Reference`], if nobody could pull it.
pub fn parse_reference(text: &str) -> Result<Reference, RegistryError> {
    text.parse().map_err(|source| RegistryError::Reference {
        text: text.chars().take(300).collect(),
        source,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn credentials(name: &str) -> RegistryCredentials {
        RegistryCredentials {
            username: name.to_owned(),
            password: "p".to_owned(),
        }
    }

    #[test]
    fn mirrors_come_first_and_never_see_the_registrys_credentials() {
        let mirror = HostSettings {
            is_insecure: true,
            credentials: Some(credentials("mirror")),
            ..HostSettings::default()
        };
        let public = HostSettings {
            mirrors: vec!["mirror.example:5000".to_owned()],
            ..HostSettings::default()
        };
        let settings = RegistrySettings {
            hosts: [
                ("mirror.example:5000".to_owned(), mirror),
                ("docker.io".to_owned(), public),
            ]
            .into(),
        };
        let reference = parse_reference("python:3.12").unwrap();
        assert_eq!(reference.repository(), "library/python");
        let own = credentials("own");
        let endpoints = settings.endpoints(reference.registry(), Some(&own), false);
        let found: Vec<_> = endpoints
            .iter()
            .map(|e| {
                let user = e.credentials.as_ref().map(|c| c.username.as_str());
                (e.host.as_str(), e.is_insecure, user)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("mirror.example:5000", true, Some("mirror")),
                ("registry-1.docker.io", false, Some("own")),
            ]
        );
        assert!(settings.knows("mirror.example"));
        assert!(!settings.knows("other.example"));
    }

    #[test]
    fn credentials_do_not_show_their_password() {
        let shown = format!("{:?}", credentials("u"));
        assert!(
            shown.contains('u') && !shown.contains("password"),
            "{shown}"
        );
    }

    #[test]
    fn a_host_is_known_without_its_port() {
        for (registry, host) in [
            ("a.example", "a.example"),
            ("a.example:5000", "a.example"),
            ("127.0.0.1:5000", "127.0.0.1"),
            ("[::1]:5000", "::1"),
        ] {
            assert_eq!(without_port(registry), host);
        }
    }
}
