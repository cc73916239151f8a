//! Registries that images are pulled from, with what an organization logs in with.

use std::fmt;

use jiff::Timestamp;

use crate::{OrganizationId, Reason, RegistryId};

/// Registries of one organization.
pub const REGISTRIES_MAX: u64 = 100;
/// Longest name, user name and project, in characters.
const FIELD_MAX_CHARS: usize = 255;
const URL_MAX_BYTES: usize = 2048;
/// Longest password. Those of some clouds are whole JSON documents.
const PASSWORD_MAX_BYTES: usize = 16 << 10;
/// Where images without a host come from, and the other names of it that people and programs write.
const HUB: &str = "docker.io";
const HUB_NAMES: &[&str] = &[
    HUB,
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
    "hub.docker.com",
];

/// What a registry is for. People manage those of organizations; the others are the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryKind {
    Internal,
    Organization,
    Transient,
    Backup,
}

impl RegistryKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Organization => "organization",
            Self::Transient => "transient",
            Self::Backup => "backup",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "internal" => Some(Self::Internal),
            "organization" => Some(Self::Organization),
            "transient" => Some(Self::Transient),
            "backup" => Some(Self::Backup),
            _ => None,
        }
    }
}

/// A registry of an organization. The password is kept apart, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    pub id: RegistryId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub url: RegistryUrl,
    pub username: String,
    /// Where in the registry the organization's repositories are; empty for anywhere.
    pub project: String,
    /// Goes before the others where several fit equally well.
    pub is_default: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A text that is not to be seen in logs.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a caller says of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRequest {
    pub name: String,
    pub url: String,
    pub username: String,
    /// None keeps the one that there is.
    pub password: Option<Secret>,
    /// None keeps the one that there is.
    pub project: Option<String>,
}

impl RegistryRequest {
    /// Everything that is wrong with it, or its URL.
    pub fn check(&self) -> Result<RegistryUrl, Vec<Reason>> {
        let mut reasons = Vec::new();
        if self.name.trim().is_empty() {
            reasons.push(Reason::invalid("name should not be empty"));
        }
        let project = self.project.as_deref().unwrap_or_default();
        for (field, value) in [
            ("name", self.name.as_str()),
            ("username", self.username.as_str()),
            ("project", project),
        ] {
            if value.chars().count() > FIELD_MAX_CHARS {
                reasons.push(Reason::invalid(format!(
                    "{field} must have at most {FIELD_MAX_CHARS} characters"
                )));
            }
            if value.chars().any(char::is_control) {
                reasons.push(Reason::invalid(format!(
                    "{field} must not hold control characters"
                )));
            }
        }
        if self.username.contains(':') && !self.username.starts_with("arn:") {
            // Goes before a colon when it is sent.
            reasons.push(Reason::invalid("username must not hold a colon"));
        }
        if self.username.starts_with("arn:") {
            reasons.push(Reason::unsupported(
                "username must not be a role: this server cannot assume roles of a cloud",
            ));
        }
        let password = self.password.as_ref().map_or("", |password| &password.0);
        if password.len() > PASSWORD_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "password must have at most {PASSWORD_MAX_BYTES} bytes"
            )));
        }
        let url = RegistryUrl::parse(&self.url);
        match url {
            Ok(url) if reasons.is_empty() => Ok(url),
            Ok(_) => Err(reasons),
            Err(reason) => {
                reasons.push(reason);
                Err(reasons)
            }
        }
    }
}

/// The address of a registry, brought into one form: `[http://]HOST[:PORT][/PATH]`, the host in lower case. Without
/// a scheme, `https` is meant. The public default registry is `docker.io`, however it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl {
    is_plain: bool,
    host: String,
    path: String,
}

impl RegistryUrl {
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Reason::invalid("url should not be empty"));
        }
        if text.len() > URL_MAX_BYTES {
            return Err(Reason::invalid(format!(
                "url must have at most {URL_MAX_BYTES} bytes"
            )));
        }
        let (is_plain, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (true, rest),
            Some(_) => return Err(Reason::invalid("url must be of http or https")),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.to_ascii_lowercase();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) || !path.bytes().all(is_path) {
            return Err(Reason::invalid("url must be the address of a registry"));
        }
        if HUB_NAMES.contains(&host.as_str()) {
            return Ok(Self {
                is_plain: false,
                host: HUB.to_owned(),
                path: String::new(),
            });
        }
        // What clients ask for stands below these; no repository does.
        let path = path.trim_matches('/');
        let path = match path {
            "v1" | "v2" => "",
            path => path,
        };
        Ok(Self {
            is_plain,
            host,
            path: path.to_owned(),
        })
    }

    /// The host with its port, as the names of images have it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is to be asked without TLS.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain {
            f.write_str("http://")?;
        }
        f.write_str(&self.host)?;
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        Ok(())
    }
}

/// The host in one form, for looking up what to log in with.
pub fn normal_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.is_empty() || HUB_NAMES.contains(&host.as_str()) {
        HUB.to_owned()
    } else {
        host
    }
}

/// The registry of an organization whose login fits a repository (without its host) best: that of the host with the
/// longest path or project above the repository; of equals the default one, then the oldest.
pub fn fitting<'a>(
    registries: &'a [Registry],
    host: &str,
    repository: &str,
) -> Option<&'a Registry> {
    let host = normal_host(host);
    let depth = |registry: &Registry| {
        let mut deepest = 0;
        for above in [&registry.url.path, &registry.project] {
            let above = above.trim_matches('/');
            if !above.is_empty() && !is_above(above, repository) {
                return None;
            }
            deepest = deepest.max(above.len());
        }
        Some(deepest)
    };
    registries
        .iter()
        .filter(|registry| registry.url.host == host)
        .filter_map(|registry| Some((depth(registry)?, registry)))
        .max_by_key(|(depth, registry)| {
            (
                *depth,
                registry.is_default,
                std::cmp::Reverse((registry.created_at, registry.id.clone())),
            )
        })
        .map(|(_, registry)| registry)
}

fn is_above(above: &str, repository: &str) -> bool {
    repository
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn addresses_come_into_one_form() {
        for (text, form) in [
            ("https://Registry.Example.com/", "registry.example.com"),
            ("registry.example.com:5000", "registry.example.com:5000"),
            ("registry.example.com/v2/", "registry.example.com"),
            ("https://ghcr.io/team/", "ghcr.io/team"),
            ("HTTP://localhost:5000", "http://localhost:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("hub.docker.com", "docker.io"),
            (" docker.io ", "docker.io"),
        ] {
            let url = RegistryUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), form, "{text}");
            assert_eq!(RegistryUrl::parse(form), Ok(url), "{form}");
        }
        for text in [
            "",
            "  ",
            "ftp://a",
            "https://",
            "https:///a",
            "https://user:pass@a",
            "a b",
            "https://a/?b",
            "https://a/#b",
            "a\nb",
        ] {
            assert!(RegistryUrl::parse(text).is_err(), "{text}");
        }
    }

    fn registry(number: u128, url: &str, project: &str, is_default: bool) -> Registry {
        Registry {
            id: RegistryId::from_uuid(uuid::Uuid::from_u128(number)),
            organization_id: OrganizationId::from_uuid(uuid::Uuid::from_u128(7)),
            name: number.to_string(),
            url: RegistryUrl::parse(url).unwrap(),
            username: String::new(),
            project: project.to_owned(),
            is_default,
            created_at: Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_closest_login_fits_then_the_default_then_the_oldest() {
        let registries = [
            registry(1, "a.com", "", false),
            registry(2, "a.com", "team", false),
            registry(3, "a.com/team/deep", "", false),
            registry(4, "index.docker.io", "", false),
            registry(5, "docker.io", "", true),
            registry(6, "docker.io", "", false),
        ];
        let found = |host, repository| {
            fitting(&registries, host, repository).map(|registry| registry.name.as_str())
        };
        assert_eq!(found("a.com", "other/x"), Some("1"));
        assert_eq!(found("A.com", "teamwork/x"), Some("1"));
        assert_eq!(found("a.com", "team/x"), Some("2"));
        assert_eq!(found("a.com", "team/deep/x"), Some("3"));
        assert_eq!(found("", "library/x"), Some("5"));
        assert_eq!(found("registry-1.docker.io", "library/x"), Some("5"));
        assert_eq!(found("a.com:443", "x"), None);
        assert_eq!(found("b.com", "x"), None);
    }

    #[test]
    fn all_that_is_wrong_with_a_request_is_told() {
        let request = RegistryRequest {
            name: " ".to_owned(),
            url: "ftp://x".to_owned(),
            username: "a:b".to_owned(),
            password: Some(Secret("x".repeat(PASSWORD_MAX_BYTES + 1))),
            project: Some("p".repeat(256)),
        };
        assert_eq!(request.check().unwrap_err().len(), 5);
        let request = RegistryRequest {
            name: "mine".to_owned(),
            url: "a.com".to_owned(),
            username: "arn:aws:iam::1:role/x".to_owned(),
            password: None,
            project: None,
        };
        let reasons = request.check().unwrap_err();
        assert_eq!(reasons[0].kind, crate::reason::ReasonKind::Unsupported);
        assert!(!format!("{:?}", Secret("hidden".to_owned())).contains("hidden"));
    }
}
