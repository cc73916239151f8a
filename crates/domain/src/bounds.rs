//! How many and how long labels and environment variables may be.

use std::collections::BTreeMap;

use crate::Reason;

pub const LABELS_MAX: usize = 128;
pub const LABEL_KEY_MAX_BYTES: usize = 256;
pub const LABEL_VALUE_MAX_BYTES: usize = 4096;

pub const ENV_MAX: usize = 1024;
pub const ENV_NAME_MAX_BYTES: usize = 256;
/// The kernel takes at most 128 KiB in one string of the environment.
pub const ENV_VALUE_MAX_BYTES: usize = 64 * 1024;
/// The kernel takes a quarter of the stack limit, 2 MiB by default, for arguments and environment
/// together; this leaves most of it to the programs.
pub const ENV_MAX_BYTES: usize = 256 * 1024;
/// Variables of the platform begin so.
pub const PLATFORM_ENV_PREFIX: &str = "DAYTONA_";

/// Words of an entrypoint, and bytes of all of them.
pub const ENTRYPOINT_MAX: usize = 256;
pub const ENTRYPOINT_MAX_BYTES: usize = 64 * 1024;

/// Checks the program, with its arguments, that a snapshot names. None at all is fine.
pub fn check_entrypoint(entrypoint: &[String], reasons: &mut Vec<Reason>) {
    if entrypoint.first().is_some_and(String::is_empty) {
        reasons.push(Reason::invalid("entrypoint must begin with a program"));
    }
    let bytes: usize = entrypoint.iter().map(|word| word.len() + 1).sum();
    if entrypoint.len() > ENTRYPOINT_MAX || bytes > ENTRYPOINT_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "entrypoint must have at most {ENTRYPOINT_MAX} words and {ENTRYPOINT_MAX_BYTES} bytes"
        )));
    }
    if entrypoint.iter().any(|word| word.contains('\0')) {
        reasons.push(Reason::invalid(
            "entrypoint must not contain a NUL character",
        ));
    }
}

/// Checks the labels of a sandbox.
pub fn check_labels(labels: &BTreeMap<String, String>, reasons: &mut Vec<Reason>) {
    if labels.len() > LABELS_MAX {
        reasons.push(Reason::invalid(format!(
            "labels must have at most {LABELS_MAX} entries"
        )));
    }
    for (key, value) in labels {
        let shown = shorten(key);
        if key.is_empty() {
            reasons.push(Reason::invalid("label keys must not be empty"));
        }
        if key.len() > LABEL_KEY_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "label key {shown} must have at most {LABEL_KEY_MAX_BYTES} bytes"
            )));
        }
        if value.len() > LABEL_VALUE_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "label {shown} must have at most {LABEL_VALUE_MAX_BYTES} bytes"
            )));
        }
        // PostgreSQL cannot keep it.
        if key.contains('\0') || value.contains('\0') {
            reasons.push(Reason::invalid(format!(
                "label {shown} must not contain a NUL character"
            )));
        }
    }
}

/// Checks the environment that a caller gives to a sandbox.
pub fn check_env(env: &BTreeMap<String, String>, reasons: &mut Vec<Reason>) {
    if env.len() > ENV_MAX {
        reasons.push(Reason::invalid(format!(
            "env must have at most {ENV_MAX} entries"
        )));
    }
    let bytes: usize = env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    if bytes > ENV_MAX_BYTES {
        reasons.push(Reason::invalid(format!(
            "env must have at most {ENV_MAX_BYTES} bytes in total"
        )));
    }
    for (name, value) in env {
        let shown = shorten(name);
        if name.is_empty() || name.contains(['=', '\0']) {
            reasons.push(Reason::invalid(format!(
                "env name {shown} must not be empty or contain '=' or a NUL character"
            )));
        }
        if name.len() > ENV_NAME_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "env name {shown} must have at most {ENV_NAME_MAX_BYTES} bytes"
            )));
        }
        if name.starts_with(PLATFORM_ENV_PREFIX) {
            reasons.push(Reason::invalid(format!(
                "env name {shown} must not begin with {PLATFORM_ENV_PREFIX}"
            )));
        }
        if value.len() > ENV_VALUE_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "env {shown} must have at most {ENV_VALUE_MAX_BYTES} bytes"
            )));
        }
        if value.contains('\0') {
            reasons.push(Reason::invalid(format!(
                "env {shown} must not contain a NUL character"
            )));
        }
    }
}

/// A key as it can stand in a message.
fn shorten(key: &str) -> String {
    key.escape_debug().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn env_reasons(entries: &[(&str, &str)]) -> usize {
        let mut reasons = Vec::new();
        check_env(&map(entries), &mut reasons);
        reasons.len()
    }

    #[test]
    fn the_platforms_variables_cannot_be_given() {
        assert_eq!(env_reasons(&[("DAYTONA_SANDBOX_ID", "x")]), 1);
        assert_eq!(env_reasons(&[("daytona_x", "x"), ("MY_DAYTONA_X", "")]), 0);
    }

    #[test]
    fn broken_variables_are_refused_one_by_one() {
        assert_eq!(env_reasons(&[("", "x"), ("A=B", ""), ("C", "\0")]), 3);
        let long = "x".repeat(ENV_VALUE_MAX_BYTES + 1);
        assert_eq!(env_reasons(&[("A", &long)]), 1);
        let full = "x".repeat(ENV_VALUE_MAX_BYTES);
        assert_eq!(
            env_reasons(&[("A", &full), ("B", &full), ("C", &full), ("D", &full)]),
            1
        );
    }

    #[test]
    fn labels_are_bounded() {
        let check = |labels: &BTreeMap<String, String>| {
            let mut reasons = Vec::new();
            check_labels(labels, &mut reasons);
            reasons.len()
        };
        assert_eq!(
            check(&map(&[("code-toolbox-language", "python"), ("é", "")])),
            0
        );
        assert_eq!(check(&map(&[("", "x"), ("nul", "\0")])), 2);
        let many = (0..=LABELS_MAX)
            .map(|n| (n.to_string(), String::new()))
            .collect();
        assert_eq!(check(&many), 1);
        let long = "x".repeat(LABEL_VALUE_MAX_BYTES + 1);
        assert_eq!(check(&map(&[(&long, &long)])), 2);
    }
}
