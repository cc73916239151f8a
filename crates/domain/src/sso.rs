//! Identity providers of organizations, and people of theirs who may be users already.

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::member::Access;
use crate::network::is_public;
use crate::webhook::url::split;
use crate::{
    MemberRole, OrganizationId, PendingSsoLinkId, Reason, Role, RoleId, SsoProviderId, UserId, text,
};

/// Providers that one organization may have.
pub const PROVIDERS_MAX: u64 = 10;
/// People of one provider who are let in: a bound to the users that whoever runs it can make.
pub const PERSONS_MAX: u64 = 10_000;
/// A person of a provider waits so long for a user to confirm.
pub const PENDING_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// What is asked of a provider where its organization does not say.
pub const SCOPE_DEFAULT: &str = "openid email profile";

const ISSUER_MAX_BYTES: usize = 1024;
const CLIENT_ID_MAX_BYTES: usize = 255;
const CLIENT_SECRET_MAX_BYTES: usize = 4096;
const SCOPE_MAX_BYTES: usize = 1024;
const DOMAINS_MAX: usize = 100;
const DOMAIN_MAX_BYTES: usize = 253;

/// An identity provider that an organization's owner has named. Its people are let into that organization, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsoProvider {
    pub id: SsoProviderId,
    pub organization_id: OrganizationId,
    pub name: String,
    /// As its tokens name it; no matter whether a slash is at the end.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    pub scope: Option<String>,
    /// Of the addresses that are let in, in small letters.
    pub domains: Vec<String>,
    /// Whether all are, and those without an address.
    pub allows_any_domain: bool,
    /// Whether a member is taken for the person whose address, as the provider has verified it, is known to be the member's.
    pub trusts_addresses: bool,
    /// What new members are given.
    pub roles: Vec<RoleId>,
    pub is_enabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl SsoProvider {
    /// Whether somebody with this address may come in.
    pub fn lets_in(&self, email: Option<&str>) -> bool {
        let domain = email.and_then(|email| email.rsplit_once('@'));
        self.allows_any_domain
            || domain.is_some_and(|(_, domain)| {
                self.domains
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(domain))
            })
    }

    /// What new members are.
    pub fn access(&self) -> Access {
        Access {
            role: MemberRole::Member,
            assigned: self.roles.clone(),
        }
    }
}

/// How a session began that is of one organization alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsoOrigin {
    pub organization_id: OrganizationId,
    pub provider_id: SsoProviderId,
}

/// A person of a provider whose address is known to be a user's, until that user says whether they are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSsoLink {
    pub id: PendingSsoLinkId,
    /// Who is asked.
    pub user_id: UserId,
    pub organization_id: OrganizationId,
    pub provider_id: SsoProviderId,
    /// The person, as the provider names it.
    pub subject: String,
    /// Whom the person's first sign-in has made.
    pub made_user_id: UserId,
    pub email: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// What a caller says of a provider. What is None stays as it was, or is the default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SsoProviderRequest {
    pub name: Option<String>,
    pub issuer: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    pub scope: Option<String>,
    pub domains: Option<Vec<String>>,
    pub allows_any_domain: Option<bool>,
    pub trusts_addresses: Option<bool>,
    pub role_ids: Option<Vec<String>>,
    pub is_enabled: Option<bool>,
}

impl fmt::Debug for SsoProviderRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SsoProviderRequest")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl SsoProviderRequest {
    /// The provider as it is then, or everything that is wrong. `is_known` tells which hosts the operator has named: those may be
    /// at private addresses, and without TLS. A new provider comes as one with empty texts.
    pub fn check(
        self,
        before: SsoProvider,
        known_roles: &[Role],
        is_known: impl Fn(&str) -> bool,
    ) -> Result<SsoProvider, Vec<Reason>> {
        let mut reasons = Vec::new();
        let is_new_issuer = self
            .issuer
            .as_ref()
            .is_some_and(|it| *it != before.issuer && !before.issuer.is_empty());
        if is_new_issuer && self.client_secret.is_none() {
            reasons.push(Reason::invalid(
                "clientSecret must be given with another issuerUrl: no issuer is sent the secret of another",
            ));
        }
        if let Some(secret) = &self.client_secret
            && !is_line(secret, CLIENT_SECRET_MAX_BYTES)
        {
            reasons.push(Reason::invalid(format!(
                "clientSecret must have 1 to {CLIENT_SECRET_MAX_BYTES} visible ASCII characters"
            )));
        }
        let next = SsoProvider {
            name: self.name.unwrap_or(before.name),
            issuer: self.issuer.unwrap_or(before.issuer),
            client_id: self.client_id.unwrap_or(before.client_id),
            scope: self.scope.or(before.scope),
            domains: self.domains.map_or(before.domains, |domains| {
                let mut domains: Vec<String> = domains
                    .iter()
                    .map(|domain| domain.trim().to_ascii_lowercase())
                    .collect();
                domains.sort();
                domains.dedup();
                domains
            }),
            allows_any_domain: self.allows_any_domain.unwrap_or(before.allows_any_domain),
            trusts_addresses: self.trusts_addresses.unwrap_or(before.trusts_addresses),
            roles: match self.role_ids {
                None => before.roles,
                Some(ids) => {
                    let access = Access::parse(MemberRole::Member.as_str(), &ids, known_roles);
                    let access = access.map_err(|wrong| reasons.extend(wrong));
                    access.map(|access| access.assigned).unwrap_or_default()
                }
            },
            is_enabled: self.is_enabled.unwrap_or(before.is_enabled),
            ..before
        };
        text::check_given_name(&next.name, &mut reasons);
        reasons.extend(issuer_fault(&next.issuer, is_known));
        if !is_line(&next.client_id, CLIENT_ID_MAX_BYTES) {
            reasons.push(Reason::invalid(format!(
                "clientId must have 1 to {CLIENT_ID_MAX_BYTES} visible ASCII characters"
            )));
        }
        reasons.extend(next.scope.as_deref().and_then(scope_fault));
        if next.domains.is_empty() && !next.allows_any_domain {
            reasons.push(Reason::invalid(
                "emailDomains must not be empty, unless allowAnyDomain is true",
            ));
        }
        if next.domains.len() > DOMAINS_MAX {
            reasons.push(Reason::invalid(format!(
                "emailDomains must contain no more than {DOMAINS_MAX} elements"
            )));
        }
        if !next.domains.iter().all(|domain| is_domain(domain)) {
            reasons.push(Reason::invalid(
                "each value in emailDomains must be a domain, such as example.com",
            ));
        }
        if reasons.is_empty() {
            Ok(next)
        } else {
            Err(reasons)
        }
    }
}

/// Why a text is no address of an issuer. Whether a name leads to a public address is seen when it is connected to; an address
/// that is none is refused here.
pub fn issuer_fault(text: &str, is_known: impl Fn(&str) -> bool) -> Option<Reason> {
    let wrong = || {
        Some(Reason::invalid(
            "issuerUrl must be an https URL without user, password, query and fragment",
        ))
    };
    if text.len() > ISSUER_MAX_BYTES {
        return Some(Reason::invalid(format!(
            "issuerUrl must have at most {ISSUER_MAX_BYTES} bytes"
        )));
    }
    let Some((is_plain, host)) = split(text).filter(|_| !text.contains('?')) else {
        return wrong();
    };
    if is_known(&host) {
        return None;
    }
    if is_plain {
        return wrong();
    }
    let is_closed = host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip));
    is_closed.then(|| Reason::invalid("issuerUrl must be at a public address"))
}

fn scope_fault(scope: &str) -> Option<Reason> {
    let is_fit = is_line(scope, SCOPE_MAX_BYTES) && !scope.contains(['"', '\\']);
    let asks = scope.split(' ').any(|word| word == "openid");
    (!is_fit || !asks)
        .then(|| Reason::invalid("scope must be words with spaces between, one of which is openid"))
}

fn is_line(text: &str, max_bytes: usize) -> bool {
    let is_ink = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    text.len() <= max_bytes && !text.trim().is_empty() && text.bytes().all(is_ink)
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DOMAIN_MAX_BYTES && text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::role;

    fn nothing() -> SsoProvider {
        SsoProvider {
            id: "one".parse().unwrap(),
            organization_id: "org".parse().unwrap(),
            name: String::new(),
            issuer: String::new(),
            client_id: String::new(),
            scope: None,
            domains: Vec::new(),
            allows_any_domain: false,
            trusts_addresses: false,
            roles: Vec::new(),
            is_enabled: true,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn good() -> SsoProviderRequest {
        SsoProviderRequest {
            name: Some("Okta".to_owned()),
            issuer: Some("https://id.example.com/".to_owned()),
            client_id: Some("alcove".to_owned()),
            client_secret: Some("s e c r e t".to_owned()),
            domains: Some(vec!["Example.com".to_owned(), "example.com".to_owned()]),
            ..SsoProviderRequest::default()
        }
    }

    fn check(request: SsoProviderRequest, before: SsoProvider) -> Result<SsoProvider, Vec<Reason>> {
        let roles = role::built_in(Timestamp::UNIX_EPOCH);
        request.check(before, &roles, |host| host == "10.0.0.1" || host == "idp")
    }

    #[test]
    fn a_provider_is_kept_as_it_was_told_with_each_domain_once() {
        let made = check(good(), nothing()).unwrap();
        assert_eq!(made.domains, ["example.com"]);
        assert!(made.is_enabled && !made.allows_any_domain && !made.trusts_addresses);
        assert!(!format!("{:?}", good()).contains("s e c r e t"));
        let rename = SsoProviderRequest {
            name: Some("Other".to_owned()),
            ..SsoProviderRequest::default()
        };
        let renamed = check(rename, made.clone()).unwrap();
        assert_eq!(renamed.name, "Other");
        assert_eq!(
            SsoProvider {
                name: made.name.clone(),
                ..renamed
            },
            made
        );
    }

    #[test]
    fn what_makes_no_provider_is_refused_with_every_reason() {
        let with = |change: fn(&mut SsoProviderRequest)| {
            let mut request = good();
            change(&mut request);
            check(request, nothing())
        };
        for (what, refused) in [
            ("no name", with(|it| it.name = None)),
            ("no issuer", with(|it| it.issuer = None)),
            ("no client", with(|it| it.client_id = Some(" ".to_owned()))),
            (
                "an empty secret",
                with(|it| it.client_secret = Some(String::new())),
            ),
            (
                "a secret of lines",
                with(|it| it.client_secret = Some("a\nb".to_owned())),
            ),
            ("no domain", with(|it| it.domains = Some(Vec::new()))),
            (
                "half a domain",
                with(|it| it.domains = Some(vec!["com".to_owned()])),
            ),
            (
                "an address",
                with(|it| it.domains = Some(vec!["a@b.com".to_owned()])),
            ),
            (
                "another scope",
                with(|it| it.scope = Some("email".to_owned())),
            ),
            (
                "no role",
                with(|it| it.role_ids = Some(vec!["none".to_owned()])),
            ),
        ] {
            assert_eq!(refused.unwrap_err().len(), 1, "{what}");
        }
        for issuer in [
            "id.example.com",
            "http://id.example.com",
            "https://a:b@id.example.com",
            "https://id.example.com?a=b",
            "https://id.example.com#a",
            "https://127.0.0.1",
            "https://[::1]",
            "https://10.0.0.2",
        ] {
            let mut request = good();
            request.issuer = Some(issuer.to_owned());
            assert!(check(request, nothing()).is_err(), "{issuer}");
        }
        for issuer in ["http://10.0.0.1:8080/x", "http://idp", "https://1.1.1.1"] {
            let mut request = good();
            request.issuer = Some(issuer.to_owned());
            assert!(check(request, nothing()).is_ok(), "{issuer}");
        }
    }

    #[test]
    fn a_secret_is_for_the_issuer_that_it_was_given_for() {
        let made = check(good(), nothing()).unwrap();
        let mut moved = SsoProviderRequest {
            issuer: Some("https://evil.example.com".to_owned()),
            ..SsoProviderRequest::default()
        };
        assert!(check(moved.clone(), made.clone()).is_err());
        moved.client_secret = Some("new".to_owned());
        assert!(check(moved, made).is_ok());
    }

    #[test]
    fn addresses_of_its_domains_are_let_in_and_those_below_and_beside_them_are_not() {
        let provider = check(good(), nothing()).unwrap();
        assert!(provider.lets_in(Some("ann@example.com")));
        for other in [
            "ann@sub.example.com",
            "ann@example.com.evil.com",
            "ann@xexample.com",
            "ann",
        ] {
            assert!(!provider.lets_in(Some(other)), "{other}");
        }
        assert!(!provider.lets_in(None));
        let any = SsoProvider {
            allows_any_domain: true,
            ..provider
        };
        assert!(any.lets_in(None) && any.lets_in(Some("ann@other.com")));
    }
}
