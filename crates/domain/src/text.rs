//! Names and other text that people will see, and user names inside a sandbox.

use uuid::Uuid;

use crate::Reason;

/// Longest name, in bytes.
pub const NAME_MAX_BYTES: usize = 255;
/// Longest operating-system user, in bytes.
pub const USER_MAX_BYTES: usize = 64;

const URL_OPENINGS: [&str; 16] = [
    "http://",
    "https://",
    "ftp://",
    "ftps://",
    "sftp://",
    "ssh://",
    "ws://",
    "wss://",
    "file://",
    "ldap://",
    "ldaps://",
    "javascript:",
    "data:",
    "mailto:",
    "tel:",
    "www.",
];

/// Checks text that other people's browsers and mail programs may show: no HTML tag, no URL opening, no
/// control character but tab and newlines. `field` names it in the reasons.
pub fn check_display(field: &str, text: &str, reasons: &mut Vec<Reason>) {
    let lower = text.to_lowercase();
    if has_html_tag(&lower) {
        reasons.push(Reason::invalid(format!("{field} must not contain HTML")));
    }
    if URL_OPENINGS.iter().any(|opening| lower.contains(opening)) {
        reasons.push(Reason::invalid(format!("{field} must not contain URLs")));
    }
    let is_bad =
        |character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r');
    if text.chars().any(is_bad) {
        reasons.push(Reason::invalid(format!(
            "{field} must not contain control characters"
        )));
    }
}

fn has_html_tag(text: &str) -> bool {
    text.match_indices('<').any(|(start, _)| {
        let rest = &text[start + 1..];
        let opens = rest
            .chars()
            .next()
            .is_some_and(|next| next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?'));
        opens && rest.contains('>')
    })
}

/// Checks the length of a name and what people will see of it.
pub fn check_name(name: &str, reasons: &mut Vec<Reason>) {
    if name.len() > NAME_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "name must be shorter than or equal to {NAME_MAX_BYTES} bytes"
        )));
    }
    check_display("name", name, reasons);
}

/// Checks a name that must be given: not empty, and as [`check_name`] has it.
pub fn check_given_name(name: &str, reasons: &mut Vec<Reason>) {
    if name.trim().is_empty() {
        reasons.push(Reason::invalid("name should not be empty"));
    }
    check_name(name, reasons);
}

/// Longest text of some sentences, in bytes.
pub const TEXT_MAX_BYTES: usize = 1_000;

/// Checks the length of a text of some sentences and what people will see of it.
pub fn check_text(field: &str, text: &str, reasons: &mut Vec<Reason>) {
    if text.len() > TEXT_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "{field} must be shorter than or equal to {TEXT_MAX_BYTES} bytes"
        )));
    }
    check_display(field, text, reasons);
}

/// Longest mail address, in bytes.
pub const EMAIL_MAX_BYTES: usize = 254;

/// A mail address in the form in which addresses are compared: trimmed, and in lower case. Whether mail reaches it is not
/// for a text to tell, so little is asked of it.
///
/// # Errors
/// What is no address. `field` names it.
pub fn parse_email(field: &str, text: &str) -> Result<String, Reason> {
    let email = text.trim().to_lowercase();
    let is_plain = |character: char| {
        !character.is_whitespace()
            && !character.is_control()
            && !matches!(character, '<' | '>' | '"' | ',' | ';')
    };
    let has_parts = email
        .rsplit_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !has_parts || email.len() > EMAIL_MAX_BYTES || !email.chars().all(is_plain) {
        return Err(Reason::invalid(format!("{field} must be an email")));
    }
    Ok(email)
}

/// Checks the name of a sandbox. A name shaped like a UUID could shadow another sandbox's id, so only the
/// sandbox's own is taken.
pub fn check_sandbox_name(name: &str, own_id: &str, reasons: &mut Vec<Reason>) {
    check_name(name, reasons);
    if name != own_id && Uuid::try_parse(name).is_ok() {
        reasons.push(Reason::invalid("name must not have the form of a UUID"));
    }
}

/// Checks an operating-system user: a name, or numbers as `uid` or `uid:gid`.
pub fn check_os_user(user: &str, reasons: &mut Vec<Reason>) {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
    let starts_well = user
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_');
    if !starts_well || user.len() > USER_MAX_BYTES || !user.bytes().all(is_plain) {
        reasons.push(Reason::invalid(
            "user must be the name of an operating system user, a number, or two numbers with a colon between",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(name: &str) -> Vec<String> {
        let mut reasons = Vec::new();
        check_sandbox_name(name, "0f8fad5b-d9cb-469f-a165-70867728950e", &mut reasons);
        reasons.into_iter().map(|reason| reason.message).collect()
    }

    #[test]
    fn ordinary_names_are_taken() {
        for name in [
            "a",
            "my sandbox",
            "büro_1.2-x",
            "a < b",
            "3 <> 4",
            "line\nbreak\t",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
        ] {
            assert_eq!(reasons(name), Vec::<String>::new(), "{name:?}");
        }
    }

    #[test]
    fn tags_urls_and_control_characters_are_refused_in_any_case() {
        for name in [
            "<b>x</b>",
            "x <IMG src=y>",
            "see HTTP://a",
            "WwW.example",
            "JavaScript:alert",
            "a\0b",
            "bell\u{7}",
            "\u{85}",
        ] {
            assert_eq!(reasons(name).len(), 1, "{name:?}");
        }
    }

    #[test]
    fn every_problem_is_named() {
        let name = format!("<b>http://x</b>\u{1}{}", "y".repeat(NAME_MAX_BYTES));
        assert_eq!(reasons(&name).len(), 4);
    }

    #[test]
    fn a_name_like_another_sandboxs_id_is_refused() {
        for name in [
            "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "7C9E6679742540DE944BE07FC1F90AE7",
            "{7c9e6679-7425-40de-944b-e07fc1f90ae7}",
        ] {
            assert_eq!(reasons(name).len(), 1, "{name:?}");
        }
    }

    #[test]
    fn addresses_are_compared_in_lower_case_and_what_is_none_is_refused() {
        let parsed = parse_email("email", "  Ann.B+c@Example.COM ");
        assert_eq!(parsed, Ok("ann.b+c@example.com".to_owned()));
        assert!(parse_email("email", "admin@localhost").is_ok());
        let long = format!("{}@x", "a".repeat(EMAIL_MAX_BYTES));
        for text in [
            "", "a", "@", "a@", "@b", "a b@c", "a@b\0", "<a@b>", "a@b,c@d", &long,
        ] {
            assert!(parse_email("email", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn users_are_names_or_numbers() {
        let is_taken = |user: &str| {
            let mut reasons = Vec::new();
            check_os_user(user, &mut reasons);
            reasons.is_empty()
        };
        for user in ["daytona", "root", "0", "1000:1000", "_apt", "www-data"] {
            assert!(is_taken(user), "{user}");
        }
        for user in ["", "-x", "a b", "a/b", "a\nb", &"x".repeat(65)] {
            assert!(!is_taken(user), "{user:?}");
        }
    }
}
