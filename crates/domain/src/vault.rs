//! Secrets that an organization keeps: values by name, and the hosts that they may be sent to.

use jiff::Timestamp;

use crate::network::DomainPattern;
use crate::{OrganizationId, Reason, Secret, SortOrder, VaultSecretId};

/// Secrets of one organization. One answer has room for all of them.
pub const SECRETS_MAX: u32 = 500;
pub const NAME_MAX_CHARS: usize = 255;
/// Longest value. Credentials of some clouds are whole JSON documents.
pub const VALUE_MAX_BYTES: usize = 16 << 10;
pub const DESCRIPTION_MAX_CHARS: usize = 1000;
/// Hosts of one secret.
pub const HOSTS_MAX: usize = 64;
/// What stands for a value begins so.
const PLACEHOLDER_PREFIX: &str = "dtn_secret_";

/// A secret without its value, which is kept apart, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSecret {
    pub id: VaultSecretId,
    pub organization_id: OrganizationId,
    /// One of its kind in the organization. It never changes.
    pub name: String,
    /// Empty for none.
    pub description: String,
    /// What is seen where the value must not be. It tells nothing of it.
    pub placeholder: String,
    /// Where the value may be sent; empty for anywhere.
    pub hosts: Vec<DomainPattern>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A secret that is to be kept, as a caller says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVaultSecret {
    pub name: String,
    pub value: Secret,
    pub description: Option<String>,
    pub hosts: Option<Vec<String>>,
}

/// What is to be otherwise with a secret. What is None stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VaultSecretChange {
    pub value: Option<Secret>,
    pub description: Option<String>,
    pub hosts: Option<Vec<String>>,
}

impl NewVaultSecret {
    /// Everything that is wrong with it, or its hosts.
    pub fn check(&self) -> Result<Vec<DomainPattern>, Vec<Reason>> {
        let mut reasons = Vec::new();
        check_name(&self.name, &mut reasons);
        check_value(&self.value, &mut reasons);
        check_description(self.description.as_deref(), &mut reasons);
        let hosts = self.hosts.as_deref().unwrap_or_default();
        let hosts = read_hosts(hosts, &mut reasons);
        if reasons.is_empty() {
            Ok(hosts)
        } else {
            Err(reasons)
        }
    }
}

impl VaultSecretChange {
    /// Everything that is wrong with it, or the new hosts.
    pub fn check(&self) -> Result<Option<Vec<DomainPattern>>, Vec<Reason>> {
        let mut reasons = Vec::new();
        if let Some(value) = &self.value {
            check_value(value, &mut reasons);
        }
        check_description(self.description.as_deref(), &mut reasons);
        let hosts = self
            .hosts
            .as_deref()
            .map(|hosts| read_hosts(hosts, &mut reasons));
        if reasons.is_empty() {
            Ok(hosts)
        } else {
            Err(reasons)
        }
    }
}

/// What stands for the value of a new secret.
pub fn placeholder(random: [u8; 16]) -> String {
    format!("{PLACEHOLDER_PREFIX}{:032x}", u128::from_be_bytes(random))
}

fn check_name(name: &str, reasons: &mut Vec<Reason>) {
    let mut bytes = name.bytes();
    let begins = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !begins || !bytes.all(is_plain) || name.len() > NAME_MAX_CHARS {
        reasons.push(Reason::invalid(format!(
            "name must have 1 to {NAME_MAX_CHARS} letters, digits, underscores and hyphens, and begin with a letter or an underscore"
        )));
    }
}

fn check_value(value: &Secret, reasons: &mut Vec<Reason>) {
    if value.0.is_empty() {
        reasons.push(Reason::invalid("value should not be empty"));
    }
    if value.0.len() > VALUE_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "value must have at most {VALUE_MAX_BYTES} bytes"
        )));
    }
    // It would end a line of a request, or a string of a program.
    if value.0.contains('\0') {
        reasons.push(Reason::invalid("value must not contain a NUL character"));
    }
}

fn check_description(description: Option<&str>, reasons: &mut Vec<Reason>) {
    let description = description.unwrap_or_default();
    if description.chars().count() > DESCRIPTION_MAX_CHARS {
        reasons.push(Reason::invalid(format!(
            "description must have at most {DESCRIPTION_MAX_CHARS} characters"
        )));
    }
    if description.contains('\0') {
        reasons.push(Reason::invalid(
            "description must not contain a NUL character",
        ));
    }
}

fn read_hosts(hosts: &[String], reasons: &mut Vec<Reason>) -> Vec<DomainPattern> {
    if hosts.len() > HOSTS_MAX {
        reasons.push(Reason::invalid(format!(
            "hosts must be at most {HOSTS_MAX}"
        )));
        return Vec::new();
    }
    let mut read: Vec<DomainPattern> = Vec::new();
    for host in hosts {
        match host.parse() {
            Ok(pattern) if read.contains(&pattern) => {}
            Ok(pattern) => read.push(pattern),
            Err(error) => reasons.push(Reason::invalid(format!(
                "hosts does not take {host:?}: {error}"
            ))),
        }
    }
    read
}

/// By what secrets are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultSecretSort {
    Name,
    CreatedAt,
    UpdatedAt,
}

/// Where a list goes on: after the secret of this key and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSecretCursor {
    pub key: String,
    pub id: String,
}

impl VaultSecretSort {
    /// The place of a secret in a list.
    pub fn place(self, secret: &VaultSecret) -> VaultSecretCursor {
        // As many digits as any time has, so that texts compare as times do.
        let time = |at: Timestamp| format!("{:020}", at.as_millisecond());
        VaultSecretCursor {
            key: match self {
                Self::Name => secret.name.clone(),
                Self::CreatedAt => time(secret.created_at),
                Self::UpdatedAt => time(secret.updated_at),
            },
            id: secret.id.to_string(),
        }
    }
}

/// One page of what there is: those with this part in their name, after the cursor; how many there are in all; and whether
/// more follow.
pub fn page(
    secrets: Vec<VaultSecret>,
    name: Option<&str>,
    (sort, order): (VaultSecretSort, SortOrder),
    after: Option<&VaultSecretCursor>,
    limit: usize,
) -> (Vec<VaultSecret>, usize, bool) {
    let mut found: Vec<VaultSecret> = secrets
        .into_iter()
        .filter(|secret| name.is_none_or(|name| secret.name.contains(name)))
        .collect();
    let compare = |one: &VaultSecretCursor, other: &VaultSecretCursor| {
        let ascending = (&one.key, &one.id).cmp(&(&other.key, &other.id));
        match order {
            SortOrder::Ascending => ascending,
            SortOrder::Descending => ascending.reverse(),
        }
    };
    found.sort_by(|one, other| compare(&sort.place(one), &sort.place(other)));
    let total = found.len();
    if let Some(after) = after {
        found.retain(|secret| compare(&sort.place(secret), after).is_gt());
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    (found, total, has_more)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn new(name: &str) -> NewVaultSecret {
        NewVaultSecret {
            name: name.to_owned(),
            value: Secret("v".to_owned()),
            description: None,
            hosts: None,
        }
    }

    fn secret(number: u128, name: &str, made: i64) -> VaultSecret {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        VaultSecret {
            id: VaultSecretId::from_uuid(uuid::Uuid::from_u128(number)),
            organization_id: OrganizationId::from_uuid(uuid::Uuid::from_u128(7)),
            name: name.to_owned(),
            description: String::new(),
            placeholder: placeholder([0; 16]),
            hosts: Vec::new(),
            created_at: at(made),
            updated_at: at(100 - made),
        }
    }

    #[test]
    fn names_are_those_of_variables_with_hyphens() {
        for name in ["a", "_", "Api_Key-1", &"x".repeat(255)] {
            assert!(new(name).check().is_ok(), "{name}");
        }
        for name in ["", "1a", "-a", "a b", "é", "a.b", &"x".repeat(256)] {
            assert_eq!(new(name).check().unwrap_err().len(), 1, "{name}");
        }
    }

    #[test]
    fn hosts_are_names_and_everything_below_names() {
        let mut asked = new("a");
        let hosts = ["API.example.com", "*.example.com", "api.example.com"];
        asked.hosts = Some(hosts.map(str::to_owned).to_vec());
        let read: Vec<String> = asked
            .check()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(read, ["api.example.com", "*.example.com"]);
        for host in ["", "*", "a.com:443", "https://a.com", "10.0.0.1", "a.*.com"] {
            asked.hosts = Some(vec![host.to_owned()]);
            assert_eq!(asked.check().unwrap_err().len(), 1, "{host}");
        }
        asked.hosts = Some(vec!["a.com".to_owned(); HOSTS_MAX + 1]);
        assert_eq!(asked.check().unwrap_err().len(), 1);
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let mut asked = new("1");
        asked.value = Secret(format!("{}\0", "x".repeat(VALUE_MAX_BYTES)));
        asked.description = Some("\0".repeat(DESCRIPTION_MAX_CHARS + 1));
        asked.hosts = Some(vec!["-".to_owned()]);
        assert_eq!(asked.check().unwrap_err().len(), 6);
        asked.value = Secret::default();
        assert_eq!(asked.check().unwrap_err().len(), 5);
        let change = VaultSecretChange {
            value: Some(Secret::default()),
            ..VaultSecretChange::default()
        };
        assert_eq!(change.check().unwrap_err().len(), 1);
        assert_eq!(VaultSecretChange::default().check(), Ok(None));
    }

    #[test]
    fn a_placeholder_has_one_form_and_one_length() {
        assert_eq!(
            placeholder([0; 16]),
            "dtn_secret_00000000000000000000000000000000"
        );
        assert_eq!(
            placeholder([255; 16]),
            "dtn_secret_ffffffffffffffffffffffffffffffff"
        );
    }

    proptest! {
        #[test]
        fn pages_one_after_another_are_the_whole_list_in_order(
            made in proptest::collection::vec((0_i64..4, "[ab]{1,2}"), 0..12),
            limit in 1_usize..5,
            sort in proptest::sample::select(vec![VaultSecretSort::Name, VaultSecretSort::CreatedAt, VaultSecretSort::UpdatedAt]),
            order in proptest::sample::select(vec![SortOrder::Ascending, SortOrder::Descending]),
        ) {
            let all: Vec<VaultSecret> = (1..).zip(&made).map(|(number, (at, name))| secret(number, name, *at)).collect();
            let (whole, total, has_more) = page(all.clone(), None, (sort, order), None, usize::MAX);
            prop_assert_eq!((whole.len(), total, has_more), (all.len(), all.len(), false));
            let mut walked = Vec::new();
            let mut after = None;
            loop {
                let (found, counted, has_more) = page(all.clone(), None, (sort, order), after.as_ref(), limit);
                prop_assert_eq!(counted, all.len());
                after = found.last().map(|last| sort.place(last));
                walked.extend(found);
                if !has_more {
                    break;
                }
            }
            prop_assert_eq!(walked, whole);
            let (named, total, _) = page(all.clone(), Some("a"), (sort, order), None, usize::MAX);
            prop_assert_eq!(total, all.iter().filter(|secret| secret.name.contains('a')).count());
            prop_assert_eq!(named.len(), total);
        }
    }
}
