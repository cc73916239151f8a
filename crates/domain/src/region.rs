//! Regions that organizations make for hosts of their own, and names of what stands in them.

use std::fmt;

use jiff::Timestamp;

use crate::{OrganizationId, Reason, RegionId, id, text};

/// Regions of one organization.
pub const REGIONS_MAX: usize = 20;
/// Shortest name of a region and of a runner, in characters.
const NAME_MIN: usize = 2;
/// Characters of a region's id that are random: names are unique in an organization only.
const RANDOM_CHARACTERS: usize = 4;
const URL_MAX_BYTES: usize = 2048;
const WEB: &[&str] = &["http", "https"];
const SHELL: &[&str] = &["http", "https", "ssh"];

/// SHA-256 of the key of a runner, or of what stands before a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKeyHash(pub [u8; 32]);

impl fmt::Debug for ServiceKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKeyHash(..)")
    }
}

/// A region of one organization. Where the server itself runs is none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRegion {
    pub id: RegionId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub urls: RegionUrls,
    /// What the region's proxy comes with. There is one exactly where there is its URL; so with the next two.
    pub proxy_key: Option<ServiceKeyHash>,
    pub ssh_gateway_key: Option<ServiceKeyHash>,
    pub snapshot_manager: Option<ManagerLogin>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Where the parts of a region are reached that its organization runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionUrls {
    pub proxy: Option<String>,
    pub ssh_gateway: Option<String>,
    pub snapshot_manager: Option<String>,
}

/// What a region's snapshot manager is logged in to with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerLogin {
    pub username: String,
    pub password: ServiceKeyHash,
}

/// What is to become of a URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UrlChange {
    #[default]
    Keep,
    Remove,
    Set(String),
}

impl UrlChange {
    fn apply(self, url: Option<&String>) -> Option<String> {
        match self {
            Self::Keep => url.cloned(),
            Self::Remove => None,
            Self::Set(url) => Some(url),
        }
    }
}

/// A change of a region's URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionChange {
    pub proxy_url: UrlChange,
    pub ssh_gateway_url: UrlChange,
    pub snapshot_manager_url: UrlChange,
}

impl RegionUrls {
    /// # Errors
    /// Every URL that is none of its kind.
    pub fn check(&self) -> Result<(), Vec<Reason>> {
        let mut reasons = Vec::new();
        for (field, url, schemes) in [
            ("proxyUrl", &self.proxy, WEB),
            ("sshGatewayUrl", &self.ssh_gateway, SHELL),
            ("snapshotManagerUrl", &self.snapshot_manager, WEB),
        ] {
            if let Some(url) = url {
                check_url(field, url, schemes, &mut reasons);
            }
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(reasons)
        }
    }

    /// What they are after a change.
    #[must_use]
    pub fn changed(&self, change: RegionChange) -> Self {
        Self {
            proxy: change.proxy_url.apply(self.proxy.as_ref()),
            ssh_gateway: change.ssh_gateway_url.apply(self.ssh_gateway.as_ref()),
            snapshot_manager: change
                .snapshot_manager_url
                .apply(self.snapshot_manager.as_ref()),
        }
    }
}

/// Checks an address that is told to others: a scheme, a host, and nothing that is no part of a URL.
pub fn check_url(field: &str, url: &str, schemes: &[&str], reasons: &mut Vec<Reason>) {
    let host = url
        .split_once("://")
        .filter(|(scheme, _)| schemes.iter().any(|one| one.eq_ignore_ascii_case(scheme)))
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_plain = |character: char| {
        !character.is_whitespace()
            && !character.is_control()
            && !matches!(character, '<' | '>' | '"' | '\\')
    };
    // Whoever reads the region must not be told a password.
    let is_url = host.is_some_and(|host| !host.is_empty() && !host.contains('@'));
    if !is_url || url.len() > URL_MAX_BYTES || !url.chars().all(is_plain) {
        reasons.push(Reason::invalid(format!(
            "{field} must be a URL with a host and no password ({})",
            schemes.join(", ")
        )));
    }
}

/// Checks the name of a region or of a runner.
pub fn check_place_name(name: &str, reasons: &mut Vec<Reason>) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !(NAME_MIN..=text::NAME_MAX_BYTES).contains(&name.len()) {
        reasons.push(Reason::invalid(format!(
            "name must have {NAME_MIN} to {} characters",
            text::NAME_MAX_BYTES
        )));
    }
    if !name.bytes().all(is_plain) {
        reasons.push(Reason::invalid(
            "name can only contain letters, digits, underscores, periods and hyphens",
        ));
    }
}

/// The id of a new region: its name in lower case, as far as there is room, and some random characters.
///
/// # Errors
/// Never for a name that [`check_place_name`] takes.
pub fn region_id(name: &str, random: [u8; RANDOM_CHARACTERS]) -> Result<RegionId, id::IdError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let plain = name.trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
    let mut id = plain.to_ascii_lowercase();
    if id.is_empty() {
        "region".clone_into(&mut id);
    }
    id.truncate(id::ID_MAX_BYTES - RANDOM_CHARACTERS - 1);
    id.push('_');
    id.extend(random.map(|byte| char::from(ALPHABET[usize::from(byte % 32)])));
    id.parse()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn reasons_of(name: &str) -> usize {
        let mut reasons = Vec::new();
        check_place_name(name, &mut reasons);
        reasons.len()
    }

    #[test]
    fn names_are_of_plain_characters_and_of_some_length() {
        for name in ["eu", "my_lab.rack-1", "A2", "--"] {
            assert_eq!(reasons_of(name), 0, "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", "x", "a b", "ä2", "a/b", long.as_str()] {
            assert!(reasons_of(name) > 0, "{name}");
        }
    }

    #[test]
    fn an_address_has_a_scheme_of_its_kind_and_a_host_and_no_password() {
        let is_taken = |url: &str| {
            let mut reasons = Vec::new();
            check_url("proxyUrl", url, WEB, &mut reasons);
            reasons.is_empty()
        };
        for url in ["https://proxy.lab", "http://10.0.0.1:4000/x?y#z"] {
            assert!(is_taken(url), "{url}");
        }
        for url in [
            "",
            "proxy.lab",
            "https://",
            "https:///x",
            "ssh://proxy.lab",
            "https://user:secret@proxy.lab",
            "https://proxy lab",
            "https://proxy\u{7}lab",
        ] {
            assert!(!is_taken(url), "{url}");
        }
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let urls = RegionUrls {
            proxy: Some("https://a".to_owned()),
            ssh_gateway: Some("ssh://b".to_owned()),
            snapshot_manager: None,
        };
        let changed = urls.changed(RegionChange {
            proxy_url: UrlChange::Remove,
            snapshot_manager_url: UrlChange::Set("https://c".to_owned()),
            ..RegionChange::default()
        });
        assert_eq!(changed.proxy, None);
        assert_eq!(changed.ssh_gateway.as_deref(), Some("ssh://b"));
        assert_eq!(changed.snapshot_manager.as_deref(), Some("https://c"));
    }

    proptest! {
        #[test]
        fn every_name_that_is_taken_has_an_id(name in "[A-Za-z0-9_.-]{2,255}", random: [u8; 4]) {
            prop_assert_eq!(reasons_of(&name), 0);
            let id = region_id(&name, random).unwrap();
            prop_assert!(id.as_str().len() <= id::ID_MAX_BYTES);
        }
    }
}
