//! Moving files and index from one commit to another with local work carried along.
//!
//! The rule is git's own two-way merge: a file that is the same in both commits keeps whatever state it is in, a file
//! that differs must be as the old commit has it (or already as the new one has it), in the index and on disk. If one
//! is not, nothing is changed.

use std::cell::RefCell;
use std::path::Path;

use alcove_agent_api::ErrorCode;
use git2::build::CheckoutBuilder;
use git2::{
    CheckoutNotificationType, DiffFile, ErrorCode as GitCode, IndexEntry, Repository, Tree,
};

use crate::Fault;

/// Files that a refusal names.
const NAMED_FILES: usize = 10;

/// Brings files and index from one tree to another; none is that of a branch without commits.
pub fn carry_over(
    repository: &Repository,
    from: Option<&Tree<'_>>,
    to: &Tree<'_>,
) -> Result<(), Fault> {
    refuse_unmerged(repository)?;
    let staged = staged_in_the_way(repository, from, to)?;
    if !staged.is_empty() {
        return Err(in_the_way(&staged));
    }
    let met = RefCell::new(Vec::new());
    let mut options = CheckoutBuilder::new();
    options
        .safe()
        .overwrite_ignored(false)
        .notify_on(CheckoutNotificationType::CONFLICT)
        .notify(|_, path, _, _, _| {
            met.borrow_mut()
                .extend(path.map(|path| path.to_string_lossy().into_owned()));
            true
        });
    let checked_out = repository.checkout_tree(to.as_object(), Some(&mut options));
    drop(options);
    checked_out.map_err(|error| match error.code() {
        GitCode::Conflict => in_the_way(&met.borrow()),
        _ => error.into(),
    })
}

/// Refuses while a merge has left files open.
pub fn refuse_unmerged(repository: &Repository) -> Result<(), Fault> {
    if repository.index()?.has_conflicts() {
        let message = "files of an unfinished merge must be resolved first";
        return Err(Fault::new(ErrorCode::GitMergeConflict, message));
    }
    Ok(())
}

/// Files that differ between the commits, and whose staged state is neither's. libgit2 looks at the disk only.
pub fn staged_in_the_way(
    repository: &Repository,
    from: Option<&Tree<'_>>,
    to: &Tree<'_>,
) -> Result<Vec<String>, Fault> {
    let index = repository.index()?;
    let diff = repository.diff_tree_to_tree(from, Some(to), None)?;
    let mut met = Vec::new();
    for delta in diff.deltas() {
        let (old, new) = (delta.old_file(), delta.new_file());
        let Some(path) = new.path_bytes().or_else(|| old.path_bytes()) else {
            continue;
        };
        let path = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
        let staged = index.get_path(path, 0);
        let is_free = match &staged {
            Some(entry) => is(entry, &old) || is(entry, &new),
            // Not staged is as it was where neither commit, or only the new one, has the file; and as it will be
            // where the new one does not.
            None => !old.exists() || !new.exists(),
        };
        if !is_free {
            met.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(met)
}

fn is(entry: &IndexEntry, file: &DiffFile<'_>) -> bool {
    file.exists() && entry.id == file.id() && entry.mode == u32::from(file.mode())
}

/// Local work stands in the way of these files.
pub fn in_the_way(files: &[String]) -> Fault {
    let mut named = files
        .iter()
        .take(NAMED_FILES)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if files.len() > NAMED_FILES {
        named.push_str(", ...");
    }
    let message = format_args!(
        "local changes would be lost, so nothing was changed; commit or put aside: {named}"
    );
    Fault::new(ErrorCode::GitDirtyWorktree, message)
}
