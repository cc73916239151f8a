//! Git.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::action::{Action, Context, Effect};
use crate::api::Ask;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Shape};

const CLONE_LIMIT: Duration = Duration::from_mins(10);

/// `git_clone`.
pub(crate) struct Clone {
    sandbox: String,
    url: String,
    path: String,
    branch: Option<String>,
    commit_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Cloned {
    repo_url: Option<String>,
    clone_path: Option<String>,
}

impl Action for Clone {
    const NAME: &'static str = "git_clone";
    const ABOUT: &'static str = "Clones a Git repository into a folder of a sandbox.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = false;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("repo_url", Shape::Maybe(Kind::Text)),
        ("clone_path", Shape::Maybe(Kind::Text)),
    ];
    type Output = Cloned;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            url: fields.name("url", "Address of the repository"),
            path: fields.name("path", "Folder to clone into"),
            branch: fields.text(
                "branch",
                "Branch to check out; the default one when left out",
            ),
            commit_id: fields.text("commit_id", "Commit to check out"),
            username: fields.text("username", "User name for the repository's server"),
            password: fields.text("password", "Password or token for the repository's server"),
        }
    }

    fn limit(&self) -> Duration {
        CLONE_LIMIT
    }

    async fn run(self, context: Context<'_>) -> Result<(Cloned, Option<Held>), Failure> {
        let mut body = Map::from_iter([
            ("url".to_owned(), Value::from(self.url.as_str())),
            ("path".to_owned(), Value::from(self.path.as_str())),
        ]);
        for (key, value) in [
            ("branch", &self.branch),
            ("commit_id", &self.commit_id),
            ("username", &self.username),
            ("password", &self.password),
        ] {
            if let Some(value) = value {
                body.insert(key.to_owned(), value.as_str().into());
            }
        }
        let asked = Ask::toolbox(Method::POST, &self.sandbox, "/git/clone").json(&body.into());
        let (bare, user_info) = without_user_info(&self.url);
        if let Err(mut failure) = asked.done(context.api).await {
            let in_url = user_info.and_then(|info| info.split_once(':'));
            let secrets = [self.password.as_deref(), in_url.map(|(_, secret)| secret)];
            for secret in secrets
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty())
            {
                failure.message = failure.message.replace(secret, "***");
            }
            return Err(failure);
        }
        let cloned = Cloned {
            repo_url: Some(bare),
            clone_path: Some(self.path),
        };
        Ok((cloned, None))
    }
}

/// The URL without who asks, and that.
fn without_user_info(url: &str) -> (String, Option<&str>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((info, _)) => {
            let bare = format!("{scheme}://{}", &rest[info.len() + 1..]);
            (bare, Some(info))
        }
        None => (url.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_without_who_asks() {
        for (url, bare) in [
            ("https://u:p@a.com/x@y.git", "https://a.com/x@y.git"),
            ("https://u:p@ss@a.com", "https://a.com"),
            ("https://a.com/x.git", "https://a.com/x.git"),
            ("git@a.com:x.git", "git@a.com:x.git"),
            ("/srv/x.git", "/srv/x.git"),
        ] {
            assert_eq!(without_user_info(url).0, bare);
        }
    }
}
