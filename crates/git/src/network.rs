//! Talking to a remote, in one way for all of them: by libgit2 with our own HTTP, or by the image's git.

use std::cell::RefCell;
use std::sync::Arc;

use alcove_agent_api::ErrorCode;
use git2::{
    AutotagOption, Config, Direction, ErrorCode as GitCode, FetchOptions, Oid, PushOptions, Remote,
    RemoteCallbacks, Repository,
};

use crate::Fault;
use crate::credentials::{self, Credentials};
use crate::helper::Cancel;
use crate::http::Client;
use crate::program::Program;
use crate::transport::Link;
use crate::url::{Kind, Url};

/// What a remote's hooks have to say in a refusal, at most.
const MAX_REMOTE_WORDS: usize = 2 << 10;

/// How much history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// As much as is here already, and what is new.
    All,
    /// So many commits.
    Commits(i32),
    /// All there is, also where less is here.
    Whole,
}

/// Which tags besides those that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// Those of commits that are fetched.
    Reached,
    All,
}

/// What talking to remotes takes, once an operation.
pub struct Network<'a> {
    repository: &'a Repository,
    config: Config,
    credentials: Option<Credentials>,
    cancel: &'a Cancel,
}

impl<'a> Network<'a> {
    pub fn new(
        repository: &'a Repository,
        credentials: Option<Credentials>,
        cancel: &'a Cancel,
    ) -> Result<Self, Fault> {
        Ok(Self {
            repository,
            config: repository.config()?.snapshot()?,
            credentials,
            cancel,
        })
    }

    /// A remote by its address: the one that git's configuration makes of it.
    pub fn connect<'r>(&self, remote: Remote<'r>, url: Url) -> Result<Wire<'r>, Fault>
    where
        'a: 'r,
    {
        let credentials = self.credentials.clone().or(url.credentials.clone());
        match url.kind {
            Kind::Program => {
                if credentials.is_some() {
                    let message =
                        "user name and password are for HTTP; ssh takes the keys of the sandbox";
                    return Err(Fault::invalid(message));
                }
                let program = Program::new(self.repository, &url)?;
                Ok(Wire::Program(program))
            }
            Kind::Local | Kind::Http => {
                let link = if url.kind == Kind::Http {
                    let client = Client::new(&self.config, &url)?;
                    let stored = credentials::stored_for(&self.config, &url.text);
                    let link = Link::new(client, &url, credentials, stored, self.cancel.clone());
                    let link = Arc::new(link);
                    crate::transport::register(&link)?;
                    Some(link)
                } else {
                    None
                };
                Ok(Wire::Library {
                    remote,
                    link,
                    url,
                    cancel: self.cancel.clone(),
                })
            }
        }
    }
}

/// What a remote has.
#[derive(Debug, Default)]
pub struct Heads {
    /// The branch that the remote's `HEAD` names, in full.
    pub default_branch: Option<String>,
    /// References by full name.
    pub references: Vec<(String, Oid)>,
}

impl Heads {
    pub fn get(&self, name: &str) -> Option<Oid> {
        let found = self.references.iter().find(|(known, _)| known == name);
        found.map(|(_, id)| *id)
    }
}

/// A remote that can be talked to.
pub enum Wire<'r> {
    Library {
        remote: Remote<'r>,
        link: Option<Arc<Link>>,
        url: Url,
        cancel: Cancel,
    },
    Program(Program),
}

impl Wire<'_> {
    /// What the remote has. Connects for fetching.
    pub fn list(&mut self) -> Result<Heads, Fault> {
        match self {
            Self::Program(program) => program.list(),
            Self::Library {
                remote, link, url, ..
            } => {
                // Stays connected for the fetch that follows.
                remote
                    .connect(Direction::Fetch)
                    .map_err(|error| explain(error, link.as_deref(), url))?;
                let references = remote
                    .list()
                    .map_err(|error| explain(error, link.as_deref(), url))?
                    .iter()
                    .map(|head| (head.name().to_owned(), head.oid()))
                    .collect();
                let default_branch = remote.default_branch().ok();
                let default_branch =
                    default_branch.and_then(|name| name.as_str().ok().map(str::to_owned));
                Ok(Heads {
                    default_branch,
                    references,
                })
            }
        }
    }

    /// Fetches by refspecs of the form `+from:to`.
    pub fn fetch(&mut self, specs: &[String], depth: Depth, tags: Tags) -> Result<(), Fault> {
        match self {
            Self::Program(program) => program.fetch(specs, depth, tags),
            Self::Library {
                remote,
                link,
                url,
                cancel,
            } => {
                let mut callbacks = RemoteCallbacks::new();
                let cancel = cancel.clone();
                callbacks.transfer_progress(move |_| !cancel.is_set());
                let mut options = FetchOptions::new();
                options
                    .remote_callbacks(callbacks)
                    .download_tags(match tags {
                        Tags::Reached => AutotagOption::Auto,
                        Tags::All => AutotagOption::All,
                    });
                match depth {
                    Depth::All => {}
                    Depth::Commits(count) => {
                        options.depth(count);
                    }
                    Depth::Whole => {
                        options.depth(i32::MAX);
                    }
                }
                remote
                    .fetch(specs, Some(&mut options), None)
                    .map_err(|error| explain(error, link.as_deref(), url))
            }
        }
    }

    /// Pushes one branch to the same name.
    pub fn push(&mut self, branch: &str) -> Result<(), Fault> {
        let spec = format!("refs/heads/{branch}:refs/heads/{branch}");
        match self {
            Self::Program(program) => program.push(&spec),
            Self::Library {
                remote, link, url, ..
            } => {
                let refusal = RefCell::new(None);
                let words = RefCell::new(Vec::new());
                let mut callbacks = RemoteCallbacks::new();
                callbacks.push_update_reference(|_, status| {
                    *refusal.borrow_mut() = status.map(str::to_owned);
                    Ok(())
                });
                callbacks.sideband_progress(|text| {
                    let mut words = words.borrow_mut();
                    let room = MAX_REMOTE_WORDS - words.len();
                    words.extend_from_slice(&text[..text.len().min(room)]);
                    true
                });
                let mut options = PushOptions::new();
                options.remote_callbacks(callbacks);
                let pushed = remote.push(&[spec], Some(&mut options));
                drop(options);
                pushed.map_err(|error| explain(error, link.as_deref(), url))?;
                match refusal.into_inner() {
                    None => Ok(()),
                    Some(reason) => Err(refused(
                        &reason,
                        &String::from_utf8_lossy(&words.into_inner()),
                    )),
                }
            }
        }
    }
}

/// The remote did not take a branch.
pub fn refused(reason: &str, words: &str) -> Fault {
    let lower = reason.to_ascii_lowercase();
    let is_behind = [
        "non-fast-forward",
        "fetch first",
        "stale info",
        "already exists",
        "failed to update ref",
        "failed to lock",
    ]
    .iter()
    .any(|sign| lower.contains(sign));
    let words = words.trim();
    let separator = if words.is_empty() { "" } else { ": " };
    if is_behind {
        let message =
            format_args!("the push was rejected ({reason}); pull first{separator}{words}");
        Fault::new(ErrorCode::GitPushRejected, message)
    } else {
        let message = format_args!("the remote refused the branch ({reason}){separator}{words}");
        Fault::new(ErrorCode::GitRemoteRejected, message)
    }
}

/// Our own transport knows better than libgit2 why it failed.
fn explain(error: git2::Error, link: Option<&Link>, url: &Url) -> Fault {
    if let Some(fault) = link.and_then(Link::take_fault) {
        return fault;
    }
    match error.code() {
        GitCode::NotFastForward => {
            let message =
                "the push was rejected: the remote has commits that are not here; pull first";
            Fault::new(ErrorCode::GitPushRejected, message)
        }
        GitCode::NotFound if url.kind == Kind::Local => {
            let message = format_args!("{} is no git repository", url.text);
            Fault::new(ErrorCode::GitRepoNotFound, message)
        }
        _ if error.message().contains("shallow") => Fault::invalid(error.message()),
        _ if url.kind == Kind::Local && error.message().contains("failed to resolve path") => {
            let message = format_args!("{} is no git repository", url.text);
            Fault::new(ErrorCode::GitRepoNotFound, message)
        }
        _ => error.into(),
    }
}
