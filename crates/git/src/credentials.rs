//! User names and passwords: those of a request, and those in git's store.
//!
//! Credentials of a request go to the remote and nowhere else. The store is the file of `git credential-store`, which
//! `POST /git/credentials` writes because that is what it is for; git itself reads it too.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use alcove_agent_api::{GitAuthenticateRequest, GitOrder, Password};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use git2::Config;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::url::Url;
use crate::{Fault, config, names};

/// What stays as it is in a line of the store.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Shorter user names are words of a message more likely than secrets.
const MIN_HIDDEN_USER: usize = 4;

/// Who one claims to be to a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Password,
}

impl Credentials {
    /// Those of a request; both have to be there to count.
    pub fn given(username: Option<&String>, password: Option<&Password>) -> Option<Self> {
        let username = names::given(username)?;
        let password = password.filter(|password| !password.0.is_empty())?;
        Some(Self {
            username: username.to_owned(),
            password: password.clone(),
        })
    }

    /// The value of a header.
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(self.pair()))
    }

    fn pair(&self) -> String {
        format!("{}:{}", self.username, self.password.0)
    }
}

/// What must not appear in any message.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Password>);

impl Secrets {
    /// The secrets that an operation brings.
    pub fn of(order: &GitOrder) -> Self {
        let credentials = match order {
            GitOrder::Clone(order) => {
                let own = Credentials::given(order.username.as_ref(), order.password.as_ref());
                let of_url = Url::parse(&order.url).ok().and_then(|url| url.credentials);
                [own, of_url]
            }
            GitOrder::Push(order) => [
                Credentials::given(order.username.as_ref(), order.password.as_ref()),
                None,
            ],
            GitOrder::Pull(order) => [
                Credentials::given(order.username.as_ref(), order.password.as_ref()),
                None,
            ],
            GitOrder::Download { address, .. } => [
                Url::of_file(address).ok().and_then(|url| url.credentials),
                None,
            ],
            GitOrder::AddRemote(order) => [
                Url::parse(&order.url).ok().and_then(|url| url.credentials),
                None,
            ],
            GitOrder::Authenticate(order) => [
                Credentials::given(Some(&order.username), Some(&order.password)),
                None,
            ],
            _ => [None, None],
        };
        let mut secrets = Self::default();
        for credentials in credentials.into_iter().flatten() {
            secrets.add(&credentials);
        }
        secrets
    }

    fn add(&mut self, credentials: &Credentials) {
        let password = &credentials.password.0;
        let user = &credentials.username;
        // The longer forms first, and the password before a user name that it may contain.
        let mut forms = vec![STANDARD.encode(credentials.pair())];
        for (text, is_hidden) in [
            (password, !password.is_empty()),
            (user, user.len() >= MIN_HIDDEN_USER),
        ] {
            if is_hidden {
                forms.push(utf8_percent_encode(text, ENCODED).to_string());
                forms.push(text.clone());
            }
        }
        self.0.extend(forms.into_iter().map(Password));
    }

    /// The text with every secret replaced.
    pub fn redact(&self, mut text: String) -> String {
        for secret in &self.0 {
            text = text.replace(&secret.0, "***");
        }
        text
    }
}

/// Writes credentials into the store and tells git to look there.
pub fn store(order: &GitAuthenticateRequest) -> Result<(), Fault> {
    let username = names::required("username", &order.username)?;
    let password = names::required("password", &order.password.0)?;
    // Git passes over such a line of its store.
    if [username, password].concat().contains(['\n', '\r', '\0']) {
        let message = "username and password must be one line each";
        return Err(Fault::invalid(message));
    }
    let host = names::given(order.host.as_ref()).unwrap_or("github.com");
    let protocol = names::given(order.protocol.as_ref()).unwrap_or("https");
    if !matches!(protocol, "http" | "https") {
        return Err(Fault::invalid("protocol must be https or http"));
    }
    let origin = format!("{protocol}://{host}");
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if !host.chars().all(is_host) || origin.parse::<http::Uri>().is_err() {
        return Err(Fault::invalid(format_args!("{host:?} is no host")));
    }

    let path = home()?.join(".git-credentials");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = String::new();
    let encode = |text| utf8_percent_encode(text, ENCODED);
    // As git does: the newest comes first, and replaces the one of the same user for the same host.
    let _ = writeln!(
        text,
        "{protocol}://{}:{}@{host}",
        encode(username),
        encode(password)
    );
    for line in old.lines() {
        let is_replaced = Stored::parse(line).is_some_and(|stored| {
            stored.origin == origin && stored.credentials.username == username
        });
        if !is_replaced {
            let _ = writeln!(text, "{line}");
        }
    }
    write_private(&path, &text)?;
    config::add_store_helper()
}

/// Replaces a file that only its owner may read.
fn write_private(path: &std::path::Path, text: &str) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::of_file(&path.to_string_lossy(), &error);
    // Where the file is a link, the link stays.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let new = path.with_file_name(format!(
        ".git-credentials.{}",
        uuid::Uuid::new_v4().simple()
    ));
    let written = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&new, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.map_err(failed)
}

/// The credentials in git's store for an address, where git is told to use one.
pub fn stored_for(config: &Config, url: &str) -> Option<Credentials> {
    let mut files = Vec::new();
    let mut helpers = config.multivar("credential.helper", None).ok()?;
    while let Some(Ok(helper)) = helpers.next() {
        let helper = helper.value().unwrap_or_default().trim();
        match helper.split_once(char::is_whitespace) {
            // An empty one takes back those before it.
            None if helper.is_empty() => files.clear(),
            None if helper == "store" => files.extend(store_files()),
            Some(("store", options)) => {
                let file = options.trim().strip_prefix("--file")?;
                let file = file.trim_start_matches(['=', ' ']);
                files.push(match file.strip_prefix("~/") {
                    Some(rest) => home().ok()?.join(rest),
                    None => file.into(),
                });
            }
            _ => {}
        }
    }
    let origin = crate::url::origin_of(url)?;
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        let mut lines = text.lines().filter_map(Stored::parse);
        let found = lines.find(|stored| {
            stored.origin.eq_ignore_ascii_case(origin)
                && (stored.path.is_empty() || url[origin.len()..].starts_with(&stored.path))
        });
        found.map(|stored| stored.credentials)
    })
}

struct Stored {
    origin: String,
    /// With its first slash; empty for all of the host.
    path: String,
    credentials: Credentials,
}

impl Stored {
    fn parse(line: &str) -> Option<Self> {
        let (scheme, rest) = line.trim().split_once("://")?;
        let (user_info, address) = rest.rsplit_once('@')?;
        let (user, password) = user_info.split_once(':')?;
        let (host, path) = address
            .find('/')
            .map_or((address, ""), |at| address.split_at(at));
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some(Self {
            origin: format!("{scheme}://{host}"),
            path: path.trim_end_matches('/').to_owned(),
            credentials: Credentials {
                username: decode(user),
                password: Password(decode(password)),
            },
        })
    }
}

fn store_files() -> Vec<PathBuf> {
    let Ok(home) = home() else {
        return Vec::new();
    };
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
    let config = config.map_or_else(|| home.join(".config"), PathBuf::from);
    vec![
        home.join(".git-credentials"),
        config.join("git/credentials"),
    ]
}

/// The user's home folder.
pub fn home() -> Result<PathBuf, Fault> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from)
        .ok_or_else(|| Fault::internal("this sandbox has no home folder"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn secrets_are_replaced_in_every_form() {
        let mut secrets = Secrets::default();
        secrets.add(&Credentials {
            username: "pass".into(),
            password: Password("my/password".into()),
        });
        let basic = STANDARD.encode("pass:my/password");
        let text = format!("at my/password, my%2Fpassword, {basic} for pass");
        assert_eq!(secrets.redact(text), "at ***, ***, *** for ***");
    }

    #[test]
    fn a_line_of_the_store_is_understood() {
        let stored = Stored::parse("https://me:p%40ss@host:8443/team/").unwrap();
        assert_eq!(stored.origin, "https://host:8443");
        assert_eq!(stored.path, "/team");
        assert_eq!(stored.credentials.password.0, "p@ss");
        assert!(Stored::parse("https://host").is_none());
    }
}
