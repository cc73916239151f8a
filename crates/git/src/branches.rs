//! Branches: listed, made, dropped, checked out.

use alcove_agent_api::{ErrorCode, ListBranchResponse};
use git2::{Branch, BranchType, Commit, ErrorCode as GitCode, Repository};

use crate::carry::carry_over;
use crate::repository::{self, Head, find_commit, head_commit, head_tree};
use crate::{Fault, names};

/// Local branches, sorted.
pub fn list(path: &str, is_strict: bool) -> Result<ListBranchResponse, Fault> {
    let repository = repository::open(path)?;
    let mut branches = Vec::new();
    for branch in repository.branches(Some(BranchType::Local))? {
        let (branch, _) = branch?;
        branches.push(String::from_utf8_lossy(branch.name_bytes()?).into_owned());
    }
    branches.sort();
    let head = Head::of(&repository)?;
    let current = head.branch().unwrap_or_default().to_owned();
    Ok(ListBranchResponse {
        branches,
        current: (!is_strict).then_some(current),
    })
}

/// Makes a branch at the current commit and switches to it. Files and what is staged stay as they are: the commit is
/// the same.
pub fn create(path: &str, name: &str) -> Result<(), Fault> {
    let name = names::branch(name)?;
    let repository = repository::open(path)?;
    let exists = || {
        let message = format_args!("a branch named {name:?} exists");
        Fault::new(ErrorCode::GitBranchExists, message)
    };
    if find_local(&repository, name)?.is_some() || is_blocked(&repository, name)? {
        return Err(exists());
    }
    let reference = format!("refs/heads/{name}");
    match head_commit(&repository)? {
        Some(commit) => {
            let mut branch =
                repository
                    .branch(name, &commit, false)
                    .map_err(|error| match error.code() {
                        GitCode::Exists => exists(),
                        _ => error.into(),
                    })?;
            repository.set_head(&reference).map_err(|error| {
                // A branch that nobody has seen yet goes again.
                let _ = branch.delete();
                error.into()
            })
        }
        None if Head::of(&repository)?.branch() == Some(name) => Err(exists()),
        None => Ok(repository.set_head(&reference)?),
    }
}

/// Whether a branch exists of which this name would be a folder, or that would be a folder of this one.
fn is_blocked(repository: &Repository, name: &str) -> Result<bool, Fault> {
    for (at, _) in name.match_indices('/') {
        if find_local(repository, &name[..at])?.is_some() {
            return Ok(true);
        }
    }
    let mut below = repository.references_glob(&format!("refs/heads/{name}/*"))?;
    Ok(below.names().next().is_some())
}

/// Drops a branch, with what is noted down about it.
pub fn delete(path: &str, name: &str) -> Result<(), Fault> {
    let name = names::branch(name)?;
    let repository = repository::open(path)?;
    let Some(mut branch) = find_local(&repository, name)? else {
        return Err(unknown(name));
    };
    if branch.is_head() {
        let message = format_args!("the branch {name:?} is checked out");
        return Err(Fault::new(ErrorCode::Conflict, message));
    }
    branch.delete().map_err(|error| match error.code() {
        // Checked out in another work tree of the same repository.
        GitCode::GenericError => Fault::new(ErrorCode::Conflict, error.message()),
        _ => error.into(),
    })
}

/// What a name that is to be checked out means.
enum Target<'r> {
    Local(Branch<'r>),
    /// A branch that only a remote has: its local name follows it.
    Remote(Branch<'r>),
    /// A tag or an id.
    Commit(Commit<'r>),
}

/// Switches to a branch, or to the commit that a tag or an id names. Local work stays; where it is in the way,
/// nothing is changed.
pub fn check_out(path: &str, name: &str) -> Result<(), Fault> {
    let name = names::revision(name)?;
    let repository = repository::open_with_work_tree(path)?;
    if matches!(Head::of(&repository)?, Head::Unborn(current) if current == name) {
        return Ok(());
    }
    match find_target(&repository, name)? {
        Target::Local(branch) => switch_to(
            &repository,
            name,
            &branch.into_reference().peel_to_commit()?,
        ),
        Target::Remote(remote) => {
            let remote_name = String::from_utf8_lossy(remote.name_bytes()?).into_owned();
            let commit = remote.into_reference().peel_to_commit()?;
            let mut branch = repository.branch(names::branch(name)?, &commit, false)?;
            let switched = branch
                .set_upstream(Some(&remote_name))
                .map_err(Fault::from)
                .and_then(|()| switch_to(&repository, name, &commit));
            if switched.is_err() {
                let _ = branch.delete();
            }
            switched
        }
        Target::Commit(commit) => move_to(&repository, &commit, |repository| {
            repository.set_head_detached(commit.id())
        }),
    }
}

fn find_target<'r>(repository: &'r Repository, name: &str) -> Result<Target<'r>, Fault> {
    if let Some(branch) = find_local(repository, name)? {
        return Ok(Target::Local(branch));
    }
    let not_a_commit = match find_commit(repository, name) {
        Ok(commit) => return Ok(Target::Commit(commit)),
        Err(fault) => fault,
    };
    let mut found = Vec::new();
    for remote in repository.remotes()?.iter_bytes() {
        let full = format!("{}/{name}", String::from_utf8_lossy(remote));
        found.extend(repository.find_branch(&full, BranchType::Remote).ok());
    }
    match (found.pop(), found.is_empty()) {
        (Some(branch), true) => Ok(Target::Remote(branch)),
        (Some(_), false) => {
            let message = format_args!("more than one remote has a branch {name:?}");
            Err(Fault::new(ErrorCode::GitBranchNotFound, message))
        }
        (None, _) if not_a_commit.message.contains("more than one") => Err(Fault::new(
            ErrorCode::GitBranchNotFound,
            not_a_commit.message,
        )),
        (None, _) => Err(unknown(name)),
    }
}

fn switch_to(repository: &Repository, name: &str, commit: &Commit<'_>) -> Result<(), Fault> {
    let reference = format!("refs/heads/{name}");
    move_to(repository, commit, |repository| {
        repository.set_head(&reference)
    })
}

/// Brings files and index to a commit, then `HEAD`. Should `HEAD` be refused, the files go back.
fn move_to(
    repository: &Repository,
    commit: &Commit<'_>,
    set_head: impl FnOnce(&Repository) -> Result<(), git2::Error>,
) -> Result<(), Fault> {
    let from = head_tree(repository)?;
    let to = commit.tree()?;
    carry_over(repository, from.as_ref(), &to)?;
    set_head(repository).map_err(|error| {
        if let Some(from) = &from {
            let _ = carry_over(repository, Some(&to), from);
        }
        // A branch can be checked out in one work tree only.
        Fault::new(ErrorCode::Conflict, error.message())
    })
}

/// The local branch of that name.
pub fn find_local<'r>(repository: &'r Repository, name: &str) -> Result<Option<Branch<'r>>, Fault> {
    match repository.find_branch(name, BranchType::Local) {
        Ok(branch) => Ok(Some(branch)),
        Err(error) if matches!(error.code(), GitCode::NotFound | GitCode::InvalidSpec) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// There is no such branch.
pub fn unknown(name: &str) -> Fault {
    let message = format_args!("there is no branch {name:?}");
    Fault::new(ErrorCode::GitBranchNotFound, message)
}
