//! Moving the branch, the index and the files back to a commit.

use std::collections::HashSet;

use alcove_agent_api::{ErrorCode, GitResetMode, GitResetRequest};
use git2::build::CheckoutBuilder;
use git2::{Commit, Diff, DiffOptions, IndexEntry, IndexTime, Repository, ResetType, Tree};

use crate::carry::{carry_over, in_the_way};
use crate::pathspec::Selection;
use crate::repository::{self, find_commit, head_tree};
use crate::stage::path_of;
use crate::{Fault, names};

pub fn reset(order: &GitResetRequest) -> Result<(), Fault> {
    let repository = repository::open(&order.path)?;
    let target = names::given(order.target.as_ref());
    if let Some(files) = order.files.as_ref().filter(|files| !files.is_empty()) {
        if order.mode.is_some_and(|mode| mode != GitResetMode::Mixed) {
            return Err(Fault::invalid("only a mixed reset can be of some files"));
        }
        return unstage(&repository, target, files);
    }
    let commit = find_commit(&repository, target.unwrap_or("HEAD"))?;
    let mode = order.mode.unwrap_or_default();
    if mode != GitResetMode::Soft {
        repository::work_tree(&repository)?;
    }
    match mode {
        GitResetMode::Soft => Ok(repository.reset(commit.as_object(), ResetType::Soft, None)?),
        GitResetMode::Mixed => Ok(repository.reset(commit.as_object(), ResetType::Mixed, None)?),
        GitResetMode::Hard => Ok(repository.reset(commit.as_object(), ResetType::Hard, None)?),
        GitResetMode::Keep => {
            let from = head_tree(&repository)?;
            carry_over(&repository, from.as_ref(), &commit.tree()?)?;
            Ok(repository.reset(commit.as_object(), ResetType::Mixed, None)?)
        }
        GitResetMode::Merge => merge_reset(&repository, &commit),
    }
}

/// Takes what is staged of some files back to what a commit has.
fn unstage(repository: &Repository, target: Option<&str>, files: &[String]) -> Result<(), Fault> {
    let selection = Selection::parse(repository, files)?;
    let tree = match target {
        Some(target) => Some(find_commit(repository, target)?.tree()?),
        None => head_tree(repository)?,
    };
    stage_from_tree(repository, tree.as_ref(), &selection)?;
    Ok(())
}

/// Gives the selected files the state of a tree in the index. The paths that both know count as found.
pub fn stage_from_tree(
    repository: &Repository,
    tree: Option<&Tree<'_>>,
    selection: &Selection,
) -> Result<(), Fault> {
    let mut index = repository.index()?;
    for entry in index.iter() {
        selection.includes(&entry.path);
    }
    if let Some(tree) = tree {
        for (path, _) in files_of(tree)? {
            selection.includes(&path);
        }
    }
    selection.require_all()?;
    let conflicted: Vec<Vec<u8>> = index
        .iter()
        .filter(|entry| entry.flags >> 12 & 3 != 0 && selection.includes(&entry.path))
        .map(|entry| entry.path)
        .collect();
    for path in conflicted {
        index.conflict_remove(path_of(&path))?;
    }
    let diff = repository.diff_tree_to_index(tree, Some(&index), None)?;
    for delta in diff.deltas() {
        // The tree is the old side.
        let wanted = delta.old_file();
        let Some(path) = wanted
            .path_bytes()
            .or_else(|| delta.new_file().path_bytes())
        else {
            continue;
        };
        if !selection.includes(path) {
            continue;
        }
        if wanted.exists() {
            index.add(&bare_entry(path, wanted.id(), u32::from(wanted.mode())))?;
        } else {
            index.remove_path(path_of(path))?;
        }
    }
    Ok(index.write()?)
}

/// An entry without what the disk says of the file, so that git looks at the file again.
pub fn bare_entry(path: &[u8], id: git2::Oid, mode: u32) -> IndexEntry {
    let never = IndexTime::new(0, 0);
    IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.to_vec(),
    }
}

/// A file of a tree: its path, and its id and mode.
pub type TreeFile = (Vec<u8>, (git2::Oid, u32));

/// Every file of a tree.
pub fn files_of(tree: &Tree<'_>) -> Result<Vec<TreeFile>, Fault> {
    let mut files = Vec::new();
    tree.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() != Some(git2::ObjectType::Tree) {
            let mut path = folder.as_bytes().to_vec();
            path.extend_from_slice(entry.name_bytes());
            let mode = entry.filemode().cast_unsigned();
            files.push((path, (entry.id(), mode)));
        }
        git2::TreeWalkResult::Ok
    })?;
    Ok(files)
}

/// Files that differ between index and target become the target's; those with changes that are not staged must not
/// be among them, and otherwise stay.
fn merge_reset(repository: &Repository, commit: &Commit<'_>) -> Result<(), Fault> {
    let target = commit.tree()?;
    let index = repository.index()?;
    let changing = paths(&repository.diff_tree_to_index(Some(&target), Some(&index), None)?);
    let mut options = DiffOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true);
    let unstaged = repository.diff_index_to_workdir(Some(&index), Some(&mut options))?;
    let is_unmerged =
        |path: &Vec<u8>| (1..=3).any(|stage| index.get_path(path_of(path), stage).is_some());
    let met: Vec<String> = paths(&unstaged)
        .into_iter()
        .filter(|path| changing.contains(path) && !is_unmerged(path))
        .map(|path| String::from_utf8_lossy(&path).into_owned())
        .collect();
    if !met.is_empty() {
        return Err(in_the_way(&met));
    }
    if !changing.is_empty() {
        let mut options = CheckoutBuilder::new();
        options.force().disable_pathspec_match(true);
        for path in &changing {
            options.path(path_of(path));
        }
        repository.checkout_tree(target.as_object(), Some(&mut options))?;
    }
    repository
        .reset(commit.as_object(), ResetType::Mixed, None)
        .map_err(|error| Fault::new(ErrorCode::Conflict, error.message()))
}

fn paths(diff: &Diff<'_>) -> HashSet<Vec<u8>> {
    let of_delta = |delta: git2::DiffDelta<'_>| {
        let new = delta.new_file().path_bytes();
        new.or_else(|| delta.old_file().path_bytes())
            .map(<[u8]>::to_vec)
    };
    diff.deltas().filter_map(of_delta).collect()
}
