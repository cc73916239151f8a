//! What a sandbox may be told about the network, and what of it this server can hold.
//!
//! Every sandbox reaches the outside and no other sandbox; narrower policies are not enforced yet. A policy that is
//! accepted but not enforced would be worse than none, so they are checked and then refused. What asks for nothing
//! narrower is taken.

use std::net::Ipv4Addr;

use crate::Reason;

/// Entries of each list.
pub const ALLOWED_MAX: usize = 10;
/// The longest host name.
const DOMAIN_MAX_BYTES: usize = 253;
/// The longest part of a host name between two dots.
const LABEL_MAX_BYTES: usize = 63;

/// A policy as the caller wrote it. Absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    pub block_all: Option<bool>,
    /// Comma-separated networks, such as `10.0.0.0/8`.
    pub allow_list: Option<String>,
    /// Comma-separated host names; `*.` in front stands for everything below.
    pub domain_allow_list: Option<String>,
}

/// Checks the policy of a new sandbox: every field may be absent.
pub fn check(settings: &NetworkSettings, reasons: &mut Vec<Reason>) {
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if let Some(list) = &settings.allow_list {
        check_entries(
            "networkAllowList",
            list,
            "an IPv4 network",
            is_network,
            reasons,
        );
    }
    if let Some(list) = &settings.domain_allow_list {
        check_entries("domainAllowList", list, "a host name", is_domain, reasons);
    }
    let asked = [
        ("networkBlockAll", settings.block_all == Some(true)),
        ("networkAllowList", is_given(&settings.allow_list)),
        ("domainAllowList", is_given(&settings.domain_allow_list)),
    ];
    for (field, is_asked) in asked {
        if is_asked {
            reasons.push(Reason::unsupported(format!(
                "{field} is not supported by this server"
            )));
        }
    }
}

/// Checks the change of a policy: it must name something.
pub fn check_change(settings: &NetworkSettings, reasons: &mut Vec<Reason>) {
    if *settings == NetworkSettings::default() {
        reasons.push(Reason::invalid(
            "at least one of networkBlockAll, networkAllowList, domainAllowList must be given",
        ));
    }
    check(settings, reasons);
}

fn check_entries(
    field: &str,
    list: &str,
    kind: &str,
    is_valid: fn(&str) -> bool,
    reasons: &mut Vec<Reason>,
) {
    if list.is_empty() {
        return;
    }
    if list.split(',').count() > ALLOWED_MAX {
        reasons.push(Reason::invalid(format!(
            "{field} must have at most {ALLOWED_MAX} entries"
        )));
    }
    for entry in list.split(',').take(ALLOWED_MAX).map(str::trim) {
        if !is_valid(entry) {
            let shown: String = entry.escape_debug().take(60).collect();
            reasons.push(Reason::invalid(format!("{field}: {shown} is not {kind}")));
        }
    }
}

/// An address and the length of its prefix.
fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let is_plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
    address.parse::<Ipv4Addr>().is_ok()
        && is_plain
        && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= 32)
}

fn is_domain(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= DOMAIN_MAX_BYTES && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::ReasonKind;

    #[test]
    fn networks_and_domains_are_told_from_other_texts() {
        for (text, is_good) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("10.0.0.1", false),
            ("10.0.0.0/33", false),
            ("10.0.0.0/+8", false),
            ("10.0.0/8", false),
            ("::/0", false),
        ] {
            assert_eq!(is_network(text), is_good, "{text}");
        }
        for (text, is_good) in [
            ("example.com", true),
            ("*.example.com", true),
            ("*", false),
            ("a..b", false),
            ("http://x", false),
            ("-a.b", false),
            ("", false),
        ] {
            assert_eq!(is_domain(text), is_good, "{text}");
        }
    }

    #[test]
    fn a_policy_that_nobody_would_hold_is_refused_and_a_wrong_one_is_called_wrong() {
        let kinds = |settings: NetworkSettings| -> Vec<ReasonKind> {
            let mut reasons = Vec::new();
            check_change(&settings, &mut reasons);
            reasons.into_iter().map(|reason| reason.kind).collect()
        };
        let open = NetworkSettings {
            block_all: Some(false),
            allow_list: Some(String::new()),
            domain_allow_list: Some(String::new()),
        };
        assert_eq!(kinds(open), []);
        assert_eq!(kinds(NetworkSettings::default()), [ReasonKind::Invalid]);
        let list = |list: &str| NetworkSettings {
            allow_list: Some(list.to_owned()),
            ..NetworkSettings::default()
        };
        assert_eq!(
            kinds(list("10.0.0.0/8, 1.1.1.1/32")),
            [ReasonKind::Unsupported]
        );
        assert!(kinds(list("10.0.0.0/8,x")).contains(&ReasonKind::Invalid));
        let many = ["10.0.0.0/8"; ALLOWED_MAX + 1].join(",");
        assert!(kinds(list(&many)).contains(&ReasonKind::Invalid));
    }
}
