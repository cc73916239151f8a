//! The terminal for browsers, on port 22222 of each sandbox.
//!
//! The page is ours and is carried in the program, so that it works without any other server. What it does it does by the
//! terminals of the sandbox's agent, and by those routes alone. Nothing on this port comes from a program in the sandbox.

use axum::body::Body;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response};

/// Where the agent's terminals are, at both ends.
const TERMINALS: &str = "/process/pty";

/// Only what is carried with the page runs, it speaks to its own host alone, and no other page shows it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug)]
pub(crate) struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

/// What a path of the port means.
#[derive(Debug)]
pub(crate) enum Part {
    /// The page itself, for whom is let in.
    Page(&'static File),
    /// What the page loads. It is the same for everybody, and no secret.
    File(&'static File),
    /// A request for the agent.
    Terminals,
}

static PAGE: File = File {
    path: "/",
    kind: "text/html; charset=utf-8",
    text: include_str!("../terminal/page.html"),
};

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

static FILES: [File; 5] = [
    File {
        path: "/page.js",
        kind: SCRIPT,
        text: include_str!("../terminal/page.js"),
    },
    File {
        path: "/page.css",
        kind: STYLE,
        text: include_str!("../terminal/page.css"),
    },
    File {
        path: "/xterm.mjs",
        kind: SCRIPT,
        text: include_str!("../terminal/vendor/xterm.mjs"),
    },
    File {
        path: "/xterm.css",
        kind: STYLE,
        text: include_str!("../terminal/vendor/xterm.css"),
    },
    File {
        path: "/addon-fit.mjs",
        kind: SCRIPT,
        text: include_str!("../terminal/vendor/addon-fit.mjs"),
    },
];

pub(crate) fn part(method: &Method, path: &str) -> Option<Part> {
    let rest = path.strip_prefix(TERMINALS);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Some(Part::Terminals);
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if path == PAGE.path {
        return Some(Part::Page(&PAGE));
    }
    FILES.iter().find(|file| file.path == path).map(Part::File)
}

impl File {
    pub(crate) fn to_response(&self, method: &Method) -> Response<Body> {
        let body = if method == Method::HEAD {
            ""
        } else {
            self.text
        };
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, self.kind),
            (CONTENT_SECURITY_POLICY, POLICY),
            (CACHE_CONTROL, "no-cache"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.text.len()));
        response
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn all_that_the_page_loads_is_carried_with_it() {
        let texts = [&PAGE].into_iter().chain(&FILES);
        let named: Vec<&str> = texts
            .filter(|file| !file.path.contains("xterm") && !file.path.contains("addon"))
            .flat_map(|file| file.text.split('"'))
            .filter(|text| text.starts_with("./"))
            .collect();
        assert!(named.len() >= 5, "{named:?}");
        for name in named {
            let part = part(&Method::GET, &name[1..]);
            let is_there = matches!(part, Some(Part::File(_) | Part::Terminals));
            assert!(is_there, "{name}");
        }
    }

    #[test]
    fn nothing_but_the_page_and_terminals_is_there() {
        let reach = |path: &str| part(&Method::POST, path).is_some();
        assert!(reach("/process/pty") && reach("/process/pty/a/connect"));
        for path in [
            "/process/execute",
            "/process/ptyx",
            "/process/session",
            "/files",
            "/",
            "/page.js",
            "//process/pty",
        ] {
            assert!(!reach(path), "{path}");
        }
        assert!(part(&Method::GET, "/etc/passwd").is_none());
        let head = PAGE.to_response(&Method::HEAD);
        assert_ne!(head.headers().get(CONTENT_LENGTH).unwrap(), "0");
    }
}
