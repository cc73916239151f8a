//! New repositories: empty ones, and copies of remote ones.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use alcove_agent_api::{ErrorCode, GitCloneRequest, GitInitRequest, GitLine};
use git2::build::CheckoutBuilder;
use git2::{Commit, ErrorCode as GitCode, Oid, Repository, RepositoryInitOptions};

use crate::answer::Output;
use crate::credentials::Credentials;
use crate::helper::Cancel;
use crate::network::{Depth, Heads, Network, Tags, Wire};
use crate::repository::{Head, find_commit};
use crate::url::{Kind, Url};
use crate::{Fault, names};

const REMOTE: &str = "origin";

/// Makes an empty repository. One that is there already stays as it is, as long as it is what was asked for.
pub fn init(order: &GitInitRequest) -> Result<(), Fault> {
    let path = names::required("path", &order.path)?;
    let branch = names::given(order.initial_branch.as_ref())
        .map(names::branch)
        .transpose()?;
    let is_bare = order.bare == Some(true);
    let was_there = Repository::open_ext(
        path,
        git2::RepositoryOpenFlags::NO_SEARCH,
        &[] as &[&std::ffi::OsStr],
    );
    if let Ok(repository) = was_there {
        let other = |what: &str| {
            let message = format_args!("there is a repository already, and {what}");
            Err(Fault::new(ErrorCode::Conflict, message))
        };
        if repository.is_bare() != is_bare {
            return other(if is_bare {
                "it is not bare"
            } else {
                "it is bare"
            });
        }
        let head = Head::of(&repository)?;
        if branch.is_some() && head.branch() != branch {
            return other("another branch is checked out");
        }
        return Ok(());
    }
    let mut options = plain_options();
    options.bare(is_bare);
    if let Some(branch) = branch {
        options.initial_head(branch);
    }
    match Repository::init_opts(path, &options) {
        Ok(_) => Ok(()),
        Err(error) => {
            // libgit2's words do not say that the name is taken by a file.
            let refused = fs::create_dir_all(path).err();
            Err(refused.map_or_else(|| error.into(), |reason| Fault::of_file(path, &reason)))
        }
    }
}

/// Without templates: what a template adds are hooks and remarks.
fn plain_options() -> RepositoryInitOptions {
    let mut options = RepositoryInitOptions::new();
    options.mkpath(true).external_template(false);
    options
}

/// Copies a remote repository: one branch with all of its history and all tags, unless a depth is given.
///
/// Whatever goes wrong, the agent clears the folder up, see [`GitLine::Claimed`].
pub fn clone(order: &GitCloneRequest, output: &mut Output, cancel: &Cancel) -> Result<(), Fault> {
    let path = names::required("path", &order.path)?;
    let url = Url::parse(&order.url)?;
    let branch = names::given(order.branch.as_ref())
        .map(names::branch)
        .transpose()?;
    let commit = names::given(order.commit_id.as_ref())
        .map(names::commit_id)
        .transpose()?;
    let depth = match order.depth {
        None | Some(0) => Depth::All,
        Some(depth) => Depth::Commits(
            i32::try_from(depth)
                .ok()
                .filter(|depth| *depth > 0)
                .ok_or_else(|| Fault::invalid("depth must be a positive number of commits"))?,
        ),
    };
    let credentials = Credentials::given(order.username.as_ref(), order.password.as_ref());
    claim(Path::new(path), output)?;

    let repository = Repository::init_opts(path, &plain_options())?;
    if let Some(origin) = url
        .origin()
        .filter(|_| order.insecure_skip_tls == Some(true))
    {
        // For git too, and for pulls and pushes to come.
        repository
            .config()?
            .open_level(git2::ConfigLevel::Local)?
            .set_bool(&format!("http.{origin}/.sslVerify"), false)?;
    }
    let address = if url.kind == Kind::Local {
        order.url.as_str()
    } else {
        url.text.as_str()
    };
    let network = Network::new(&repository, credentials, cancel)?;
    let mut wire = network.connect(repository.remote_anonymous(address)?, url.clone())?;
    let heads = wire.list()?;
    let source = Source::choose(&heads, branch)?;
    let (spec, tags) = source.spec(depth);
    wire.fetch(&[spec], depth, tags)?;
    repository.remote_with_fetch(REMOTE, address, &source.noted_spec())?;
    source.point_head(&repository, &heads)?;

    if let Some(commit) = commit {
        let found = find_or_fetch(&repository, &mut wire, commit)?;
        repository.set_head_detached(found.id())?;
    }
    let mut options = CheckoutBuilder::new();
    options.force().recreate_missing(true);
    Ok(repository.checkout_head(Some(&mut options))?)
}

/// Makes the folder ours: there is nothing in it, and nobody else has begun.
fn claim(path: &Path, output: &mut Output) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::of_file(&path.to_string_lossy(), &error);
    let taken = || {
        let message = format_args!("{} exists and is not an empty folder", path.display());
        Fault::new(ErrorCode::Conflict, message)
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let made = match fs::create_dir(path) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => false,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken()),
        Err(error) => return Err(failed(error)),
    };
    let git_dir = path.join(".git");
    fs::create_dir(&git_dir).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => taken(),
        _ => failed(error),
    })?;
    let is_empty = fs::read_dir(path).map_err(failed)?.count() == 1;
    if !is_empty {
        fs::remove_dir(&git_dir).map_err(failed)?;
        return Err(taken());
    }
    output
        .say(&GitLine::Claimed { made })
        .map_err(Fault::internal)
}

/// What is cloned.
enum Source {
    Branch(String),
    Tag(String),
    /// The remote's `HEAD` is on no branch.
    Detached(Oid),
}

impl Source {
    fn choose(heads: &Heads, wanted: Option<&str>) -> Result<Self, Fault> {
        if heads.references.is_empty() {
            let message = "the remote repository is empty";
            return Err(Fault::new(ErrorCode::GitRepoNotFound, message));
        }
        if let Some(wanted) = wanted {
            if heads.get(&format!("refs/heads/{wanted}")).is_some() {
                return Ok(Self::Branch(wanted.to_owned()));
            }
            if heads.get(&format!("refs/tags/{wanted}")).is_some() {
                return Ok(Self::Tag(wanted.to_owned()));
            }
            let message = format_args!("the remote has no branch {wanted:?}");
            return Err(Fault::new(ErrorCode::GitBranchNotFound, message));
        }
        let default = heads.default_branch.as_deref();
        let default = default.and_then(|name| name.strip_prefix("refs/heads/"));
        match (default, heads.get("HEAD")) {
            (Some(branch), _) if names::branch(branch).is_ok() => {
                Ok(Self::Branch(branch.to_owned()))
            }
            (_, Some(id)) => Ok(Self::Detached(id)),
            _ => {
                let message = "the remote's own branch does not exist; name one";
                Err(Fault::new(ErrorCode::GitBranchNotFound, message))
            }
        }
    }

    /// What to fetch.
    fn spec(&self, depth: Depth) -> (String, Tags) {
        // With a depth, each tag would bring a history of its own.
        let tags = if depth == Depth::All {
            Tags::All
        } else {
            Tags::Reached
        };
        match self {
            Self::Branch(name) => (
                format!("+refs/heads/{name}:refs/remotes/{REMOTE}/{name}"),
                tags,
            ),
            Self::Tag(name) => (format!("+refs/tags/{name}:refs/tags/{name}"), tags),
            Self::Detached(_) => (all_branches(), tags),
        }
    }

    /// What git is to fetch from now on.
    fn noted_spec(&self) -> String {
        match self {
            Self::Branch(name) => format!("+refs/heads/{name}:refs/remotes/{REMOTE}/{name}"),
            Self::Tag(_) | Self::Detached(_) => all_branches(),
        }
    }

    fn point_head(&self, repository: &Repository, heads: &Heads) -> Result<(), Fault> {
        match self {
            Self::Branch(name) => {
                let tracking = format!("refs/remotes/{REMOTE}/{name}");
                let id = repository.refname_to_id(&tracking)?;
                repository.reference(&format!("refs/heads/{name}"), id, true, "clone")?;
                repository.set_head(&format!("refs/heads/{name}"))?;
                let mut config = repository.config()?.open_level(git2::ConfigLevel::Local)?;
                config.set_str(&format!("branch.{name}.remote"), REMOTE)?;
                config.set_str(
                    &format!("branch.{name}.merge"),
                    &format!("refs/heads/{name}"),
                )?;
                if heads.default_branch.as_deref() == Some(format!("refs/heads/{name}").as_str()) {
                    let head = format!("refs/remotes/{REMOTE}/HEAD");
                    repository.reference_symbolic(&head, &tracking, true, "clone")?;
                }
                Ok(())
            }
            Self::Tag(name) => {
                let commit = find_commit(repository, &format!("refs/tags/{name}"))?;
                Ok(repository.set_head_detached(commit.id())?)
            }
            Self::Detached(id) => Ok(repository.set_head_detached(*id)?),
        }
    }
}

fn all_branches() -> String {
    format!("+refs/heads/*:refs/remotes/{REMOTE}/*")
}

/// The commit, for which all branches are fetched whole if need be.
fn find_or_fetch<'r>(
    repository: &'r Repository,
    wire: &mut Wire<'_>,
    id: &str,
) -> Result<Commit<'r>, Fault> {
    if let Ok(commit) = find_by_id(repository, id) {
        return Ok(commit);
    }
    let is_shallow = repository.is_shallow();
    let depth = if is_shallow { Depth::Whole } else { Depth::All };
    wire.fetch(&[all_branches()], depth, Tags::Reached)?;
    find_by_id(repository, id)
}

fn find_by_id<'r>(repository: &'r Repository, id: &str) -> Result<Commit<'r>, Fault> {
    let found = repository.find_commit_by_prefix(id);
    found.map_err(|error| match error.code() {
        GitCode::NotFound | GitCode::Ambiguous | GitCode::Invalid => {
            let message = format_args!("the remote has no commit {id:?} on any branch");
            Fault::new(ErrorCode::NotFound, message)
        }
        _ => error.into(),
    })
}
