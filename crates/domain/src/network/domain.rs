//! Names of hosts, and lists of those that a sandbox may reach.
//!
//! A list is what a person wrote (`api.example.com, *.example.org`); what it is held against comes from a sandbox: the
//! question of a DNS query, the server name of a TLS connection, the `Host` of a request. Both are brought into one
//! form first, so that no spelling of a name passes by an entry or slips under one.

use std::fmt;
use std::str::FromStr;

use idna::AsciiDenyList;
use serde::{Deserialize, Serialize};

/// The longest name, without the dot at its end.
const NAME_MAX_BYTES: usize = 253;
/// The longest part of a name between two dots.
const LABEL_MAX_BYTES: usize = 63;

/// The name of a host in its one form: ASCII, small letters, no dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// Reads a name as programs send it: ASCII of any case, with or without the dot of the root. `None` for anything
    /// that is no name of a host. What people call an international name comes here as `xn--…`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = name.len() <= NAME_MAX_BYTES && name.split('.').all(is_label);
        // What ends in a number is an address, or would be taken for one by some programs and not by others.
        let is_address = name.rsplit('.').next().is_some_and(is_number);
        (is_name && !is_address).then(|| Self(name.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_MAX_BYTES).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(is_inner)
}

/// Decimal, or hexadecimal as C libraries read it in addresses.
fn is_number(label: &str) -> bool {
    let (digits, is_digit): (&str, fn(u8) -> bool) =
        match label.strip_prefix("0x").or(label.strip_prefix("0X")) {
            Some(digits) => (digits, |byte| byte.is_ascii_hexdigit()),
            None => (label, |byte| byte.is_ascii_digit()),
        };
    digits.bytes().all(is_digit)
}

/// One entry of a list: a name, or with `*.` in front all names below it, however deep, but not the name itself.
///
/// As deep as one likes, because services hand out names of any depth (`bucket.s3.region.example.com`) and the owner of
/// a name decides about everything below it anyway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainPattern {
    name: HostName,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scope {
    Itself,
    Below,
}

/// Why a text is no entry of a list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host name is made of letters, digits and hyphens, with dots between; `*.` may stand in front"
)]
pub struct DomainParseError;

impl DomainPattern {
    pub fn matches(&self, name: &HostName) -> bool {
        match self.scope {
            Scope::Itself => self.name == *name,
            Scope::Below => name
                .0
                .strip_suffix(&self.name.0)
                .is_some_and(|below| below.ends_with('.')),
        }
    }
}

impl FromStr for DomainPattern {
    type Err = DomainParseError;

    /// Reads an entry as people write it, international letters included.
    fn from_str(text: &str) -> Result<Self, DomainParseError> {
        let (name, scope) = match text.strip_prefix("*.") {
            Some(name) => (name, Scope::Below),
            None => (text, Scope::Itself),
        };
        // The form in which programs will ask for it.
        let name = idna::domain_to_ascii_cow(name.as_bytes(), AsciiDenyList::URL)
            .map_err(|_| DomainParseError)?;
        let name = HostName::parse(&name).ok_or(DomainParseError)?;
        Ok(Self { name, scope })
    }
}

impl TryFrom<String> for DomainPattern {
    type Error = DomainParseError;

    fn try_from(text: String) -> Result<Self, DomainParseError> {
        text.parse()
    }
}

impl From<DomainPattern> for String {
    fn from(pattern: DomainPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.scope {
            Scope::Itself => "",
            Scope::Below => "*.",
        };
        write!(f, "{prefix}{}", self.name)
    }
}

/// The names that a sandbox may reach. Empty: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainList(Vec<DomainPattern>);

impl DomainList {
    pub fn allows(&self, name: &HostName) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<DomainPattern> for DomainList {
    fn from_iter<T: IntoIterator<Item = DomainPattern>>(patterns: T) -> Self {
        Self(patterns.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn parse(text: &str) -> Option<DomainPattern> {
        text.parse().ok()
    }

    fn list(entries: &[&str]) -> DomainList {
        let patterns = entries.iter().map(|entry| parse(entry).unwrap());
        patterns.collect()
    }

    #[test]
    fn a_name_opens_itself_in_any_spelling_and_nothing_beside_it() {
        let list = list(&["API.Example.com."]);
        for (asked, is_allowed) in [
            ("api.example.com", true),
            ("API.EXAMPLE.COM", true),
            ("api.example.com.", true),
            ("example.com", false),
            ("x.api.example.com", false),
            ("xapi.example.com", false),
            ("api.example.com.evil.net", false),
        ] {
            assert_eq!(list.allows(&name(asked)), is_allowed, "{asked}");
        }
    }

    #[test]
    fn a_star_opens_all_names_below_and_not_the_name_itself() {
        let list = list(&["*.example.com"]);
        for (asked, is_allowed) in [
            ("a.example.com", true),
            ("a.b.c.Example.COM.", true),
            ("example.com", false),
            ("notexample.com", false),
            ("a.example.com.evil.net", false),
        ] {
            assert_eq!(list.allows(&name(asked)), is_allowed, "{asked}");
        }
    }

    #[test]
    fn an_international_name_is_known_by_the_name_that_programs_ask_for() {
        let list = list(&["bücher.example", "*.BÜCHER.example"]);
        assert!(list.allows(&name("xn--bcher-kva.example")));
        assert!(list.allows(&name("shop.XN--bcher-KVA.example")));
        assert!(!list.allows(&name("bucher.example")));
        let entry = parse("*.bücher.example").unwrap();
        assert_eq!(entry.to_string(), "*.xn--bcher-kva.example");
        // Full-width letters and dots are the same name to a browser.
        assert_eq!(parse("ｅxample。com"), parse("example.com"));
        assert_eq!(parse("xn--\u{fc}.example"), None);
        assert_eq!(parse("xn--99999999.example"), None);
    }

    #[test]
    fn what_is_no_name_is_no_entry() {
        let label = "a".repeat(LABEL_MAX_BYTES);
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(parse(&long).is_some());
        for text in [
            "",
            ".",
            "*",
            "*.",
            "*.*.a",
            "a.*.b",
            "a*.b",
            "a..b",
            ".a",
            "-a.b",
            "a-.b",
            "a b",
            "a/b",
            "a:443",
            "http://a",
            "1.2.3.4",
            "a.1",
            "a.0x7f",
            "a.0x",
            "[::1]",
            "::1",
            "a,b",
            "a\0b",
            "a.b..",
            &format!("{long}a"),
            &format!("a{label}.b"),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("_service.a1.b-c.3d").is_some());
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        assert!(!DomainList::default().allows(&name("a.b")));
    }

    const NAME: &str = "[a-z0-9_]{1,8}(\\.[a-z0-9_]{1,8}){0,4}\\.[a-z]{2,4}";

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_reads_the_same_when_it_is_written(text in "\\PC{0,40}") {
            if let Some(pattern) = parse(&text) {
                let written = pattern.to_string();
                prop_assert!(written.is_ascii());
                prop_assert_eq!(parse(&written), Some(pattern));
            }
            if let Some(name) = HostName::parse(&text) {
                prop_assert_eq!(HostName::parse(name.as_str()), Some(name.clone()));
                prop_assert!(!name.as_str().ends_with('.'));
            }
        }

        #[test]
        fn an_entry_opens_a_name_exactly_if_the_labels_say_so(
            entry in NAME, asked in NAME, prefix in "([a-z0-9]{1,5}\\.){0,3}", is_related in any::<bool>(),
        ) {
            let asked = if is_related { format!("{prefix}{entry}") } else { asked };
            let entry_labels: Vec<&str> = entry.rsplit('.').collect();
            let labels: Vec<&str> = asked.rsplit('.').collect();
            let asked = name(&asked);
            prop_assert_eq!(list(&[&entry]).allows(&asked), labels == entry_labels);
            let is_below = labels.len() > entry_labels.len() && labels.starts_with(&entry_labels);
            prop_assert_eq!(list(&[&format!("*.{entry}")]).allows(&asked), is_below);
        }

        #[test]
        fn case_and_the_last_dot_never_matter(entry in NAME, mask in any::<u64>(), has_dot in any::<bool>()) {
            let spelled: String = entry.chars().enumerate().map(|(at, letter)| {
                if mask >> (at % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
            }).collect();
            let spelled = if has_dot { format!("{spelled}.") } else { spelled };
            prop_assert!(list(&[&entry]).allows(&name(&spelled)));
            prop_assert!(list(&[&spelled]).allows(&name(&entry)));
        }
    }
}
