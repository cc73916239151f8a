//! Names that come from outside and go into references, options and files.

use alcove_agent_api::ErrorCode;
use git2::{Branch, Remote};

use crate::Fault;

/// A text that must be there.
pub fn required<'a>(what: &str, text: &'a str) -> Result<&'a str, Fault> {
    if text.is_empty() {
        let message = format_args!("{what} is required");
        return Err(Fault::new(ErrorCode::InvalidRequestBody, message));
    }
    if text.contains('\0') {
        return Err(Fault::invalid(format_args!("{what} holds a NUL byte")));
    }
    Ok(text)
}

/// Absent and empty are the same.
pub fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// The name of a branch that may exist.
pub fn branch(name: &str) -> Result<&str, Fault> {
    let name = required("branch name", name)?;
    if name.starts_with('-') || name == "HEAD" || !Branch::name_is_valid(name).unwrap_or(false) {
        return Err(Fault::invalid(format_args!(
            "{name:?} cannot be the name of a branch"
        )));
    }
    Ok(name)
}

/// Something that may name a commit: a branch, a tag, an id, `HEAD~2`.
pub fn revision(text: &str) -> Result<&str, Fault> {
    let text = required("revision", text)?;
    let is_odd = |c: char| c.is_control() || c == ' ';
    if text.starts_with('-') || text.contains(is_odd) {
        return Err(Fault::invalid(format_args!(
            "{text:?} cannot name a commit"
        )));
    }
    Ok(text)
}

/// A commit's id or the beginning of one.
pub fn commit_id(text: &str) -> Result<&str, Fault> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && (4..=40).contains(&text.len()) {
        Ok(text)
    } else {
        Err(Fault::invalid(format_args!("{text:?} is no commit id")))
    }
}

/// The name of a remote.
pub fn remote(name: &str) -> Result<&str, Fault> {
    let name = required("remote name", name)?;
    if name.starts_with('-') || !Remote::is_valid_name(name) {
        return Err(Fault::invalid(format_args!(
            "{name:?} cannot be the name of a remote"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_or_a_command_line_could_take_for_something_else_is_refused() {
        for name in [
            "", "-f", "a b", "a..b", "HEAD", "a\0", "a.lock", "/a", "a~1", "@{-1}",
        ] {
            assert!(branch(name).is_err(), "{name:?}");
        }
        for text in ["", "--exec=x", "a\nb", "a b"] {
            assert!(revision(text).is_err(), "{text:?}");
        }
        for id in ["", "abc", "-abc1", "xyz123", &"a".repeat(64)] {
            assert!(commit_id(id).is_err(), "{id:?}");
        }
        for name in ["", "-x", "a b", "a:b"] {
            assert!(remote(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn usual_names_pass() {
        assert!(branch("feature/a-1").is_ok() && branch("änderung").is_ok());
        assert!(revision("HEAD~2").is_ok() && revision("v1.0^{commit}").is_ok());
        assert!(commit_id("abc1").is_ok() && commit_id(&"A".repeat(40)).is_ok());
        assert!(remote("origin").is_ok());
    }
}
