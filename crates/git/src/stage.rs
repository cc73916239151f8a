//! Staging files for the next commit.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use alcove_agent_api::{ErrorCode, GitAddRequest};
use git2::{Repository, Status};

use crate::pathspec::{self, Selection};
use crate::{Fault, repository, status};

/// Stages each entry: new and changed files as they are on disk, files that are gone as deleted. All entries or none.
pub fn add(order: &GitAddRequest) -> Result<(), Fault> {
    let Some(files) = &order.files else {
        let message = "files is required";
        return Err(Fault::new(ErrorCode::InvalidRequestBody, message));
    };
    let repository = repository::open_with_work_tree(&order.path)?;
    let selection = Selection::parse(&repository, files)?;
    let mut index = repository.index()?;
    let statuses = repository.statuses(Some(&mut status::options()))?;
    for entry in statuses.iter() {
        if !selection.includes(entry.path_bytes()) {
            continue;
        }
        let bytes = entry.path_bytes();
        let path = path_of(bytes.strip_suffix(b"/").unwrap_or(bytes));
        let status = entry.status();
        if status.contains(Status::WT_DELETED) || !exists(&repository, path) {
            index.remove_path(path)?;
        } else if status.intersects(
            Status::WT_NEW | Status::WT_MODIFIED | Status::WT_TYPECHANGE | Status::CONFLICTED,
        ) {
            index.add_path(path).map_err(|error| {
                let path = path.to_string_lossy();
                let fault = Fault::from(error);
                Fault::new(fault.code, format_args!("{path}: {}", fault.message))
            })?;
        }
    }
    for (given, literal) in selection.unmatched() {
        check_unchanged(&repository, &index, given, literal)?;
    }
    Ok(index.write()?)
}

/// An entry that no change belongs to must at least name something.
fn check_unchanged(
    repository: &Repository,
    index: &git2::Index,
    given: &str,
    literal: &[u8],
) -> Result<(), Fault> {
    let path = path_of(literal);
    let is_below =
        |name: &[u8]| name.starts_with(literal) && name.get(literal.len()) == Some(&b'/');
    if literal.is_empty()
        || index
            .iter()
            .any(|entry| entry.path == literal || is_below(&entry.path))
    {
        return Ok(());
    }
    if !exists(repository, path) {
        return Err(pathspec::unknown(given));
    }
    if repository.status_should_ignore(path)? {
        return Err(Fault::invalid(format_args!(
            "{given:?} is ignored by a .gitignore of the repository"
        )));
    }
    Ok(())
}

fn exists(repository: &Repository, path: &Path) -> bool {
    repository
        .workdir()
        .is_some_and(|top| top.join(path).symlink_metadata().is_ok())
}

pub fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
