//! Giving files, or what is staged of them, the content of a commit or of the index.

use std::collections::BTreeMap;
use std::path::Path;

use alcove_agent_api::{ErrorCode, GitRestoreRequest};
use git2::build::CheckoutBuilder;
use git2::{Oid, Repository};

use crate::pathspec::Selection;
use crate::repository::{self, find_commit, head_tree, work_tree};
use crate::reset::{files_of, stage_from_tree};
use crate::stage::path_of;
use crate::{Fault, names};

/// Id and mode of each file.
type Files = BTreeMap<Vec<u8>, (Oid, u32)>;

pub fn restore(order: &GitRestoreRequest) -> Result<(), Fault> {
    let files = order.files.as_ref().filter(|files| !files.is_empty());
    let Some(files) = files else {
        let message = "files is required";
        return Err(Fault::new(ErrorCode::InvalidRequestBody, message));
    };
    let is_staged = order.staged == Some(true);
    let is_worktree = order.worktree.unwrap_or(!is_staged);
    if !is_staged && !is_worktree {
        return Err(Fault::invalid(
            "neither what is staged nor the files are to be restored",
        ));
    }
    let repository = repository::open_with_work_tree(&order.path)?;
    let selection = Selection::parse(&repository, files)?;
    let source = match names::given(order.source.as_ref()) {
        Some(source) => Some(find_commit(&repository, source)?.tree()?),
        None if is_staged => head_tree(&repository)?,
        None => None,
    };
    let is_from_index = source.is_none() && !is_staged;
    let tracked = tracked(&repository, &selection, is_from_index && is_worktree)?;
    let wanted: Files = if is_from_index {
        tracked.clone()
    } else {
        let all = source.as_ref().map(files_of).transpose()?;
        all.unwrap_or_default()
            .into_iter()
            .filter(|(path, _)| selection.includes(path))
            .collect()
    };
    selection.require_all()?;
    if is_staged {
        stage_from_tree(&repository, source.as_ref(), &selection)?;
    }
    if is_worktree {
        write_files(&repository, source.as_ref(), &wanted, is_staged)?;
        let gone = tracked.keys().filter(|path| !wanted.contains_key(*path));
        for path in gone {
            remove_file(work_tree(&repository)?, path_of(path))?;
        }
    }
    Ok(())
}

/// Selected files that the index knows.
fn tracked(
    repository: &Repository,
    selection: &Selection,
    refuses_unmerged: bool,
) -> Result<Files, Fault> {
    let mut files = Files::new();
    for entry in repository.index()?.iter() {
        if !selection.includes(&entry.path) {
            continue;
        }
        if refuses_unmerged && entry.flags >> 12 & 3 != 0 {
            let path = String::from_utf8_lossy(&entry.path);
            let message = format_args!("{path} belongs to an unfinished merge");
            return Err(Fault::new(ErrorCode::GitMergeConflict, message));
        }
        files.insert(entry.path, (entry.id, entry.mode));
    }
    Ok(files)
}

fn write_files(
    repository: &Repository,
    source: Option<&git2::Tree<'_>>,
    wanted: &Files,
    updates_index: bool,
) -> Result<(), Fault> {
    // No path at all would mean every path.
    if wanted.is_empty() {
        return Ok(());
    }
    let mut options = CheckoutBuilder::new();
    options
        .force()
        .disable_pathspec_match(true)
        .update_index(updates_index || source.is_none());
    for path in wanted.keys() {
        options.path(path_of(path));
    }
    match source {
        Some(tree) => repository.checkout_tree(tree.as_object(), Some(&mut options))?,
        None => repository.checkout_index(None, Some(&mut options))?,
    }
    Ok(())
}

/// Removes a file that the source does not have, and folders that are empty without it. What has become a folder, or
/// lies behind a link, is not this file.
fn remove_file(top: &Path, path: &Path) -> Result<(), Fault> {
    let is_folder = |path: &Path| {
        path.symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir())
    };
    let mut folder = top.to_path_buf();
    for part in path.parent().into_iter().flat_map(Path::components) {
        folder.push(part);
        if !is_folder(&folder) {
            return Ok(());
        }
    }
    let whole = top.join(path);
    if is_folder(&whole) {
        return Ok(());
    }
    match std::fs::remove_file(&whole) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Fault::of_file(&path.to_string_lossy(), &error));
        }
        _ => {}
    }
    while folder != top && std::fs::remove_dir(&folder).is_ok() {
        folder.pop();
    }
    Ok(())
}
