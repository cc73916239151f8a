//! Which sandbox a path names, and what of it is the agent's.
//!
//! The tail is cut out of the raw path and never decoded or tidied: `%2F` and `..` mean to the agent
//! what the client wrote. Only the slashes before the sandbox's name may be repeated, since clients
//! join a base that ends in a slash with a path that starts with one.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A toolbox path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ToolboxPath<'a> {
    /// Id or name, decoded.
    pub sandbox: Cow<'a, str>,
    /// What the agent gets, starting with a slash.
    pub tail: &'a str,
}

/// Takes `/toolbox/{sandbox}/{tail}` and `/api/toolbox/{sandbox}/toolbox/{tail}` apart; None for any
/// other path. The second is how clients before 0.113 reach the toolbox.
pub(crate) fn split(path: &str) -> Option<ToolboxPath<'_>> {
    let (first, rest) = segment(path)?;
    let is_legacy = first == "api";
    let rest = if is_legacy {
        after(rest, "toolbox")?
    } else {
        rest
    };
    if !is_legacy && first != "toolbox" {
        return None;
    }
    let (name, rest) = segment(rest)?;
    let tail = if is_legacy {
        after(rest, "toolbox")?
    } else {
        rest
    };
    Some(ToolboxPath {
        sandbox: percent_decode_str(name).decode_utf8().ok()?,
        tail: if tail.is_empty() { "/" } else { tail },
    })
}

/// The first segment and what follows it, from its slash on. None if there is no segment.
fn segment(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/')?.trim_start_matches('/');
    let end = path.find('/').unwrap_or(path.len());
    let (segment, rest) = path.split_at(end);
    (!segment.is_empty()).then_some((segment, rest))
}

fn after<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    segment(path)
        .filter(|(first, _)| *first == name)
        .map(|(_, rest)| rest)
}

/// The query parameter that carries a preview token.
const AUTH_KEY: &str = "DAYTONA_SANDBOX_AUTH_KEY";

/// The query as the agent gets it: without our credential, else byte for byte.
pub(crate) fn clean_query(query: &str) -> Cow<'_, str> {
    let is_ours = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        percent_decode_str(name).eq(AUTH_KEY.bytes())
    };
    if query.split('&').any(is_ours) {
        let kept: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair)).collect();
        Cow::Owned(kept.join("&"))
    } else {
        Cow::Borrowed(query)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(path: &str) -> Option<(String, &str)> {
        split(path).map(|path| (path.sandbox.into_owned(), path.tail))
    }

    #[test]
    fn both_forms_name_the_same_sandbox_and_tail() {
        for (path, sandbox, tail) in [
            ("/toolbox/a/process/execute", "a", "/process/execute"),
            (
                "/api/toolbox/a/toolbox/process/execute",
                "a",
                "/process/execute",
            ),
            ("//toolbox//a/files", "a", "/files"),
            ("/toolbox/a", "a", "/"),
            ("/toolbox/a/", "a", "/"),
            ("/toolbox/my%20box/x", "my box", "/x"),
        ] {
            assert_eq!(parts(path), Some((sandbox.to_owned(), tail)), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_toolbox_paths() {
        for path in [
            "/",
            "",
            "*",
            "/toolbox",
            "/toolbox/",
            "/api/sandbox/a",
            "/api/toolbox/a/process",
            "/api/toolbox/a",
            "/toolboxes/a/b",
            "/toolbox/%ff/x",
        ] {
            assert_eq!(parts(path), None, "{path}");
        }
    }

    #[test]
    fn the_tail_is_not_tidied() {
        for tail in ["/a%2Fb", "/a/../../b", "//x", "/%2e%2e/x", "/a;b=c"] {
            assert_eq!(
                parts(&format!("/toolbox/id{tail}")),
                Some(("id".to_owned(), tail))
            );
        }
    }

    #[test]
    fn our_credential_leaves_the_query_and_nothing_else_does() {
        for (query, cleaned) in [
            ("path=%2Fa&depth=1", "path=%2Fa&depth=1"),
            ("DAYTONA_SANDBOX_AUTH_KEY=x", ""),
            ("a=1&DAYTONA_SANDBOX_AUTH_KEY=x&b=", "a=1&b="),
            ("DAYTONA_SANDBOX%5FAUTH_KEY=x&a", "a"),
            ("a&&b", "a&&b"),
        ] {
            assert_eq!(clean_query(query), cleaned);
        }
    }

    proptest! {
        #[test]
        fn any_tail_arrives_byte_for_byte(tail in "(/[!-.0-~]{0,8}){1,6}") {
            let path = format!("/toolbox/id{tail}");
            prop_assert_eq!(parts(&path), Some(("id".to_owned(), tail.as_str())));
        }
    }
}
