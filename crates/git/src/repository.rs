//! Opening a repository, and what most operations ask of it.

use std::ffi::OsStr;
use std::path::Path;

use alcove_agent_api::ErrorCode;
use git2::{Commit, ErrorCode as GitCode, ObjectType, Repository, RepositoryOpenFlags, Tree};

use crate::{Fault, names};

/// Opens the repository at exactly this path; folders above are not searched.
///
/// Who owns it does not matter: the caller has named this path, and no program that the repository names is run.
pub fn open(path: &str) -> Result<Repository, Fault> {
    let path = names::required("path", path)?;
    let none: &[&OsStr] = &[];
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none).map_err(|error| {
        if error.code() == GitCode::NotFound {
            let message = format_args!("{path} is no git repository");
            Fault::new(ErrorCode::GitRepoNotFound, message)
        } else {
            error.into()
        }
    })
}

/// Like [`open`], for what takes a work tree.
pub fn open_with_work_tree(path: &str) -> Result<Repository, Fault> {
    let repository = open(path)?;
    if repository.workdir().is_none() {
        return Err(Fault::invalid(format_args!(
            "{path} is a bare repository, without a work tree"
        )));
    }
    Ok(repository)
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A branch, by its short name.
    Branch(String),
    /// A branch that has no commit yet.
    Unborn(String),
    Detached,
}

impl Head {
    pub fn of(repository: &Repository) -> Result<Self, Fault> {
        let head = repository.find_reference("HEAD")?;
        let Some(target) = head.symbolic_target_bytes() else {
            return Ok(Self::Detached);
        };
        let target = String::from_utf8_lossy(target).into_owned();
        let Some(name) = target.strip_prefix("refs/heads/") else {
            return Ok(Self::Detached);
        };
        let name = name.to_owned();
        Ok(match repository.find_reference(&target) {
            Ok(_) => Self::Branch(name),
            Err(error) if error.code() == GitCode::NotFound => Self::Unborn(name),
            Err(error) => return Err(error.into()),
        })
    }

    /// The branch, with or without commits.
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch(name) | Self::Unborn(name) => Some(name),
            Self::Detached => None,
        }
    }
}

/// The commit that is checked out; none on a branch without commits.
pub fn head_commit(repository: &Repository) -> Result<Option<Commit<'_>>, Fault> {
    match repository.head() {
        Ok(head) => Ok(Some(head.peel_to_commit()?)),
        Err(error) if matches!(error.code(), GitCode::UnbornBranch | GitCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The tree of that commit.
pub fn head_tree(repository: &Repository) -> Result<Option<Tree<'_>>, Fault> {
    let commit = head_commit(repository)?;
    Ok(commit.map(|commit| commit.tree()).transpose()?)
}

/// The commit that a revision names.
pub fn find_commit<'r>(repository: &'r Repository, text: &str) -> Result<Commit<'r>, Fault> {
    let text = names::revision(text)?;
    let unknown = |why: &str| {
        let message = format_args!("{text:?} {why}");
        Fault::new(ErrorCode::NotFound, message)
    };
    let object = repository
        .revparse_single(text)
        .map_err(|error| match error.code() {
            GitCode::NotFound | GitCode::InvalidSpec | GitCode::UnbornBranch => {
                unknown("is no revision of this repository")
            }
            GitCode::Ambiguous => unknown("is the beginning of more than one object's id"),
            _ => error.into(),
        })?;
    object
        .peel(ObjectType::Commit)
        .ok()
        .and_then(|object| object.into_commit().ok())
        .ok_or_else(|| unknown("names no commit"))
}

/// The top of the work tree.
pub fn work_tree(repository: &Repository) -> Result<&Path, Fault> {
    repository
        .workdir()
        .ok_or_else(|| Fault::invalid("a bare repository has no work tree"))
}
