//! What differs from the last commit, and from the upstream.

use std::collections::BTreeMap;

use alcove_agent_api::{FileState, FileStatus, GitStatus};
use git2::{BranchType, Delta, Repository, Status, StatusEntry, StatusOptions};

use crate::Fault;
use crate::repository::{self, Head};

/// The status. Nothing is written, not even what git would only refresh.
pub fn status(path: &str, is_strict: bool) -> Result<GitStatus, Fault> {
    let repository = repository::open_with_work_tree(path)?;
    let head = Head::of(&repository)?;
    let upstream = Upstream::of(&repository, &head)?;
    let is_detached = head == Head::Detached;
    let (ahead, behind) = upstream
        .as_ref()
        .map_or((0, 0), |upstream| (upstream.ahead, upstream.behind));
    Ok(GitStatus {
        current_branch: head.branch().unwrap_or("HEAD").to_owned(),
        file_status: files(&repository)?,
        ahead,
        behind,
        branch_published: upstream.is_some(),
        detached: (!is_strict).then_some(is_detached),
        upstream: (!is_strict).then(|| upstream.map(|upstream| upstream.name).unwrap_or_default()),
    })
}

struct Upstream {
    name: String,
    ahead: u64,
    behind: u64,
}

impl Upstream {
    /// None where none is noted down, or what is noted down does not exist.
    fn of(repository: &Repository, head: &Head) -> Result<Option<Self>, Fault> {
        let Head::Branch(name) = head else {
            return Ok(None);
        };
        let branch = repository.find_branch(name, BranchType::Local)?;
        let Ok(upstream) = branch.upstream() else {
            return Ok(None);
        };
        let name = String::from_utf8_lossy(upstream.name_bytes()?).into_owned();
        let local = branch.into_reference().peel_to_commit()?.id();
        let remote = upstream.into_reference().peel_to_commit()?.id();
        let (ahead, behind) = repository.graph_ahead_behind(local, remote)?;
        Ok(Some(Self {
            name,
            ahead: ahead as u64,
            behind: behind as u64,
        }))
    }
}

/// Options that list each untracked file by itself and no ignored one.
pub fn options() -> StatusOptions {
    let mut options = StatusOptions::new();
    options
        .include_untracked(true)
        .recurse_untracked_dirs(true)
        .include_ignored(false)
        .update_index(false);
    options
}

fn files(repository: &Repository) -> Result<Vec<FileStatus>, Fault> {
    let statuses = repository.statuses(Some(options().renames_head_to_index(true)))?;
    let mut conflicts = conflicts(repository)?;
    let mut files: Vec<FileStatus> = statuses
        .iter()
        .filter(|entry| !entry.status().is_conflicted())
        .filter_map(|entry| describe(&entry))
        .collect();
    files.retain(|file| !conflicts.contains_key(&file.name));
    while let Some((name, (staging, worktree))) = conflicts.pop_first() {
        files.push(FileStatus {
            name,
            extra: String::new(),
            staging,
            worktree,
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn describe(entry: &StatusEntry<'_>) -> Option<FileStatus> {
    let status = entry.status();
    let staging = staged_state(status);
    let worktree = if status.contains(Status::WT_NEW) {
        FileState::Untracked
    } else if status.contains(Status::WT_DELETED) {
        FileState::Deleted
    } else if status.contains(Status::WT_RENAMED) {
        FileState::Renamed
    } else if status.intersects(Status::WT_MODIFIED | Status::WT_TYPECHANGE) {
        FileState::Modified
    } else {
        FileState::Unmodified
    };
    let staging = match (staging, worktree) {
        (FileState::Unmodified, FileState::Unmodified) => return None,
        (FileState::Unmodified, FileState::Untracked) => FileState::Untracked,
        (staging, _) => staging,
    };
    let renamed = entry
        .head_to_index()
        .filter(|delta| delta.status() == Delta::Renamed);
    let (name, extra) = match renamed {
        Some(delta) => (delta.new_file().path_bytes(), delta.old_file().path_bytes()),
        None => (Some(entry.path_bytes()), None),
    };
    let text = |bytes: Option<&[u8]>| {
        let text = String::from_utf8_lossy(bytes.unwrap_or_default());
        text.strip_suffix('/').unwrap_or(&text).to_owned()
    };
    Some(FileStatus {
        name: text(name),
        extra: text(extra),
        staging,
        worktree,
    })
}

fn staged_state(status: Status) -> FileState {
    if status.contains(Status::INDEX_RENAMED) {
        FileState::Renamed
    } else if status.contains(Status::INDEX_NEW) {
        FileState::Added
    } else if status.contains(Status::INDEX_DELETED) {
        FileState::Deleted
    } else if status.intersects(Status::INDEX_MODIFIED | Status::INDEX_TYPECHANGE) {
        FileState::Modified
    } else {
        FileState::Unmodified
    }
}

/// Files that a merge has left open, with what each side did, in the way of `git status`.
fn conflicts(repository: &Repository) -> Result<BTreeMap<String, (FileState, FileState)>, Fault> {
    use FileState::{Added, Deleted, Unmerged};
    let index = repository.index()?;
    if !index.has_conflicts() {
        return Ok(BTreeMap::new());
    }
    let mut found = BTreeMap::new();
    for conflict in index.conflicts()? {
        let conflict = conflict?;
        let (base, our, their) = (&conflict.ancestor, &conflict.our, &conflict.their);
        let states = match (base.is_some(), our.is_some(), their.is_some()) {
            (true, false, false) => (Deleted, Deleted),
            (true, true, false) => (Unmerged, Deleted),
            (true, false, true) => (Deleted, Unmerged),
            (false, true, true) => (Added, Added),
            (false, true, false) => (Added, Unmerged),
            (false, false, true) => (Unmerged, Added),
            _ => (Unmerged, Unmerged),
        };
        if let Some(entry) = our.as_ref().or(their.as_ref()).or(base.as_ref()) {
            found.insert(String::from_utf8_lossy(&entry.path).into_owned(), states);
        }
    }
    Ok(found)
}
