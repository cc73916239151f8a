//! Addresses of remote repositories.

use alcove_agent_api::{ErrorCode, Password};
use percent_encoding::percent_decode_str;

use crate::Fault;
use crate::credentials::Credentials;

/// How an address is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By our own transport.
    Http,
    /// A repository of this sandbox, which libgit2 reads by itself.
    Local,
    /// By the image's own git: ssh, and the protocol without any.
    Program,
}

/// An address, with what it said about credentials taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub kind: Kind,
    /// Without user and password where it is HTTP.
    pub text: String,
    pub credentials: Option<Credentials>,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refused = |why: &str| Fault::invalid(format_args!("the address {why}"));
        if text.is_empty() {
            let message = "url is required";
            return Err(Fault::new(ErrorCode::InvalidRequestBody, message));
        }
        if text.starts_with('-') || text.contains(|c: char| c.is_control()) {
            return Err(refused("is none of a repository"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            // `host:path`, as ssh has it, unless a slash comes first.
            let is_scp = text
                .split_once(':')
                .is_some_and(|(host, _)| !host.contains('/'));
            let kind = if is_scp { Kind::Program } else { Kind::Local };
            return Ok(Self::plain(kind, text));
        };
        match scheme.to_ascii_lowercase().as_str() {
            scheme @ ("http" | "https") if !rest.contains(['?', '#']) => Self::http(scheme, rest),
            "http" | "https" => Err(refused("is malformed")),
            "file" => Ok(Self::plain(Kind::Local, text)),
            "ssh" | "git" | "git+ssh" | "ssh+git" => Ok(Self::plain(Kind::Program, text)),
            _ => Err(refused("has a scheme that is not supported")),
        }
    }

    /// The address of a file, which may have a query.
    pub fn of_file(text: &str) -> Result<Self, Fault> {
        match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) if !rest.contains('#') => {
                Self::http(scheme, rest)
            }
            _ => Err(Fault::invalid("the address is none of HTTP")),
        }
    }

    fn http(scheme: &str, rest: &str) -> Result<Self, Fault> {
        let malformed = || Fault::invalid("the address is malformed");
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let text = format!("{scheme}://{host}{path}");
        let uri: http::Uri = text.parse().map_err(|_| malformed())?;
        if host.is_empty() || uri.host().is_none() {
            return Err(malformed());
        }
        Ok(Self {
            kind: Kind::Http,
            text,
            credentials: user.and_then(of_user_info),
        })
    }

    fn plain(kind: Kind, text: &str) -> Self {
        Self {
            kind,
            text: text.to_owned(),
            credentials: None,
        }
    }

    /// Scheme, host and port of an HTTP address.
    pub fn origin(&self) -> Option<&str> {
        if self.kind != Kind::Http {
            return None;
        }
        origin_of(&self.text)
    }
}

/// Scheme, host and port.
pub fn origin_of(text: &str) -> Option<&str> {
    let start = text.find("://")? + 3;
    let end = text[start..]
        .find('/')
        .map_or(text.len(), |length| start + length);
    Some(&text[..end])
}

fn of_user_info(text: &str) -> Option<Credentials> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() && password.is_empty() {
        return None;
    }
    Some(Credentials {
        username: decode(user),
        password: Password(decode(password)),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        for (text, kind) in [
            ("https://host/a.git", Kind::Http),
            ("HTTP://host:8080/a", Kind::Http),
            ("ssh://git@host/a", Kind::Program),
            ("git@host:a/b.git", Kind::Program),
            ("git://host/a", Kind::Program),
            ("/srv/a", Kind::Local),
            ("./a:b", Kind::Local),
            ("file:///srv/a", Kind::Local),
        ] {
            assert_eq!(Url::parse(text).unwrap().kind, kind, "{text}");
        }
        for text in [
            "",
            "-x",
            "--upload-pack=x",
            "ext::sh",
            "ftp://a/b",
            "https://",
            "https:///a",
            "http://a/b?c",
        ] {
            let is_program = Url::parse(text).is_ok_and(|url| url.kind != Kind::Program);
            assert!(!is_program, "{text}");
        }
    }

    #[test]
    fn files_may_have_a_query_and_are_fetched_by_http_only() {
        let url = Url::of_file("https://me:secret@host/a?b=/c@d").unwrap();
        assert_eq!(url.text, "https://host/a?b=/c@d");
        assert_eq!(url.credentials.unwrap().username, "me");
        for text in [
            "/a",
            "file:///a",
            "ssh://host/a",
            "https:///a",
            "http://host/a#b",
        ] {
            assert!(Url::of_file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_are_taken_out_of_the_address() {
        let url = Url::parse("https://me:p%40ss@host:1/a").unwrap();
        assert_eq!(url.text, "https://host:1/a");
        assert_eq!(url.origin(), Some("https://host:1"));
        let credentials = url.credentials.unwrap();
        assert_eq!(credentials.username, "me");
        assert_eq!(credentials.password.0, "p@ss");
    }
}
