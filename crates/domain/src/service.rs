//! Credentials of programs that serve the platform: no user stands behind one, and each opens only what its role is for.

use std::fmt;

use jiff::Timestamp;

use crate::ServiceCredentialId;

/// How many credentials of one role are good at once: the newest, and the one that it takes the place of.
pub const GOOD_AT_ONCE: usize = 2;
/// How long the one before is good where nobody says, in seconds.
pub const OVERLAP_SECONDS: i64 = 24 * 60 * 60;
/// The longest that it can be good, in seconds.
pub const OVERLAP_MAX_SECONDS: i64 = 30 * 24 * 60 * 60;

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceRole {
    /// Lets people into sandboxes by SSH.
    SshGateway,
    /// Leads visitors to ports of sandboxes.
    Proxy,
    /// Takes telemetry of sandboxes and passes it on.
    OtelCollector,
    /// Looks whether the server works.
    HealthCheck,
}

impl ServiceRole {
    pub const ALL: [Self; 4] = [
        Self::SshGateway,
        Self::Proxy,
        Self::OtelCollector,
        Self::HealthCheck,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SshGateway => "ssh-gateway",
            Self::Proxy => "proxy",
            Self::OtelCollector => "otel-collector",
            Self::HealthCheck => "health-check",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// What the text of a credential begins with. None is the beginning of another.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::SshGateway => "alcove_ssh_gateway_",
            Self::Proxy => "alcove_proxy_",
            Self::OtelCollector => "alcove_otel_collector_",
            Self::HealthCheck => "alcove_health_check_",
        }
    }

    /// The role that a credential says it is of.
    pub fn of_text(text: &str) -> Option<Self> {
        let mut roles = Self::ALL.into_iter();
        roles.find(|role| text.starts_with(role.prefix()))
    }
}

impl fmt::Display for ServiceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a credential's full text, which has 256 random bits and is kept nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServiceCredentialHash(pub [u8; 32]);

impl fmt::Debug for ServiceCredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceCredentialHash(..)")
    }
}

/// A credential of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCredential {
    pub id: ServiceCredentialId,
    pub role: ServiceRole,
    pub hash: ServiceCredentialHash,
    /// The end of its text, by which people know it again.
    pub suffix: String,
    pub created_at: Timestamp,
    /// From when on it is good no more; never where another has not taken its place.
    pub ends_at: Option<Timestamp>,
}

impl ServiceCredential {
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.ends_at.is_none_or(|ends_at| now < ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_of_the_role_whose_prefix_it_has() {
        for role in ServiceRole::ALL {
            assert_eq!(ServiceRole::parse(role.as_str()), Some(role));
            let text = format!("{}00", role.prefix());
            assert_eq!(ServiceRole::of_text(&text), Some(role));
        }
        assert_eq!(ServiceRole::of_text("dtn_00"), None);
        assert_eq!(ServiceRole::of_text("alcove_"), None);
    }
}
