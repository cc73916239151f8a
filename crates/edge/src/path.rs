//! Which sandbox a path names, and what of it is the agent's.
//!
//! The tail is cut out of the raw path and never decoded or tidied: `%2F` and `..` mean to the agent
//! what the client wrote. Only the slashes before the sandbox's name may be repeated, since clients
//! join a base that ends in a slash with a path that starts with one.

use std::borrow::Cow;

use alcove_control::{FileUse, SignedFile};
use http::Method;
use percent_encoding::percent_decode_str;

/// A toolbox path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ToolboxPath<'a> {
    /// Id or name, decoded.
    pub sandbox: Cow<'a, str>,
    /// What the agent gets, starting with a slash.
    pub tail: &'a str,
    /// Whether it is the path by way of the API.
    pub is_legacy: bool,
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
        is_legacy,
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

fn is_auth_key(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    percent_decode_str(name).eq(AUTH_KEY.bytes())
}

/// The preview token of a query.
pub(crate) fn auth_key(query: &str) -> Option<Cow<'_, str>> {
    let pair = query.split('&').find(|pair| is_auth_key(pair))?;
    let (_, token) = pair.split_once('=')?;
    percent_decode_str(token).decode_utf8().ok()
}

/// The query as the agent gets it: without our credential, else byte for byte.
pub(crate) fn clean_query(query: &str) -> Cow<'_, str> {
    if query.split('&').any(is_auth_key) {
        let kept: Vec<&str> = query.split('&').filter(|pair| !is_auth_key(pair)).collect();
        Cow::Owned(kept.join("&"))
    } else {
        Cow::Borrowed(query)
    }
}

/// What a request for a file says by its address alone, where that is a signed one: `path`, `expires` and `signature`,
/// each once and nothing beside them, so that nobody can read it in two ways.
pub(crate) fn signed_file(method: &Method, tail: &str, query: &str) -> Option<SignedFile> {
    let use_of = match (method, tail) {
        (&Method::GET, "/files/download") => FileUse::Download,
        (&Method::POST, "/files/upload-v2") => FileUse::Upload,
        _ => return None,
    };
    let (mut path, mut expires, mut signature) = (None, None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        let place = match name {
            "path" => &mut path,
            "expires" => &mut expires,
            "signature" => &mut signature,
            _ => return None,
        };
        let value = value.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8().ok()?;
        if place.replace(value.into_owned()).is_some() {
            return None;
        }
    }
    let expires = expires.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(SignedFile {
        use_of,
        path: path?,
        expires: expires.parse().ok()?,
        signature: signature?,
    })
}

/// What of a signed file's query is the agent's: its path, as it came.
pub(crate) fn unsigned_query(query: &str) -> Option<&str> {
    query.split('&').find(|pair| pair.starts_with("path="))
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

    #[test]
    fn a_signed_file_says_path_end_and_signature_once_each() {
        let query = "path=%2Fa+b%2B&expires=12&signature=v1_x";
        let read = signed_file(&Method::GET, "/files/download", query);
        let file = SignedFile {
            use_of: FileUse::Download,
            path: "/a b+".to_owned(),
            expires: 12,
            signature: "v1_x".to_owned(),
        };
        assert_eq!(read, Some(file));
        assert_eq!(unsigned_query(query), Some("path=%2Fa+b%2B"));
        let post = signed_file(&Method::POST, "/files/upload-v2", query);
        assert_eq!(post.map(|file| file.use_of), Some(FileUse::Upload));
        for (method, tail) in [
            (Method::POST, "/files/download"),
            (Method::HEAD, "/files/download"),
            (Method::GET, "/files/upload-v2"),
            (Method::GET, "//files/download"),
            (Method::DELETE, "/files"),
            (Method::GET, "/files/info"),
        ] {
            assert_eq!(signed_file(&method, tail, query), None, "{method} {tail}");
        }
        for query in [
            "",
            "path=a&expires=1",
            "path=a&path=b&expires=1&signature=x",
            "path=a&%70ath=b&expires=1&signature=x",
            "path=a&expires=1&signature=x&more=1",
            "path=a&expires=+1&signature=x",
            "path=a&expires=-1&signature=x",
            "path=%ff&expires=1&signature=x",
            "path=a&expires=99999999999999999999&signature=x",
        ] {
            assert_eq!(
                signed_file(&Method::GET, "/files/download", query),
                None,
                "{query}"
            );
        }
    }
}
