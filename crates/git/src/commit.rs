//! Commits: made from what is staged, and listed.

use std::io::Write;

use alcove_agent_api::{ErrorCode, GitCommitInfo, GitCommitRequest, GitCommitResponse};
use git2::{Commit, Oid, Repository, RepositoryState, Signature, Sort};

use crate::answer::Output;
use crate::carry::refuse_unmerged;
use crate::repository::{self, head_commit};
use crate::{Fault, names};

/// Commits what is staged. Author and committer are the same, the time is now.
pub fn commit(order: &GitCommitRequest) -> Result<GitCommitResponse, Fault> {
    let message = names::required("message", &order.message)?;
    let author = names::required("author", &order.author)?;
    let email = names::required("email", &order.email)?;
    let who = Signature::now(author, email)
        .map_err(|error| Fault::invalid(format_args!("author or email: {}", error.message())))?;
    let mut repository = repository::open(&order.path)?;
    refuse_unmerged(&repository)?;

    let merged = merge_heads(&mut repository)?;
    let tree = repository.index()?.write_tree()?;
    let head = head_commit(&repository)?;
    let is_same = match &head {
        Some(head) => head.tree_id() == tree,
        None => repository.index()?.is_empty(),
    };
    if is_same && merged.is_empty() && order.allow_empty != Some(true) {
        let message = "nothing to commit: what is staged is what the last commit has";
        return Err(Fault::new(ErrorCode::Conflict, message));
    }
    let tree = repository.find_tree(tree)?;
    let others = merged
        .iter()
        .map(|id| repository.find_commit(*id))
        .collect::<Result<Vec<_>, _>>()?;
    let parents: Vec<&Commit<'_>> = head.iter().chain(&others).collect();
    let id = repository.commit(Some("HEAD"), &who, &who, message, &tree, &parents)?;
    if matches!(
        repository.state(),
        RepositoryState::Merge | RepositoryState::CherryPick | RepositoryState::Revert
    ) {
        repository.cleanup_state()?;
    }
    Ok(GitCommitResponse {
        hash: id.to_string(),
    })
}

/// The other parents of a merge that this commit concludes.
fn merge_heads(repository: &mut Repository) -> Result<Vec<Oid>, Fault> {
    let mut heads = Vec::new();
    if repository.state() == RepositoryState::Merge {
        repository.mergehead_foreach(|id| {
            heads.push(*id);
            true
        })?;
    }
    Ok(heads)
}

/// Writes every commit that can be reached from `HEAD`, newest first, one by one: a history may be long.
pub fn history(path: &str, output: &mut Output) -> Result<(), Fault> {
    let repository = repository::open(path)?;
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
    if let Some(head) = head_commit(&repository)? {
        walk.push(head.id())?;
    }
    let mut separator = "[";
    for id in walk {
        let info = describe(&repository.find_commit(id?)?);
        let out = output.body()?;
        let written = out.write_all(separator.as_bytes());
        written.map_err(Fault::internal)?;
        serde_json::to_writer(out, &info).map_err(Fault::internal)?;
        separator = ",";
    }
    let end = if separator == "[" { "[]" } else { "]" };
    let written = output.body()?.write_all(end.as_bytes());
    written.map_err(Fault::internal)
}

fn describe(commit: &Commit<'_>) -> GitCommitInfo {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let author = commit.author();
    GitCommitInfo {
        hash: commit.id().to_string(),
        author: text(author.name_bytes()),
        email: text(author.email_bytes()),
        message: text(commit.message_raw_bytes()),
        timestamp: timestamp(author.when().seconds(), author.when().offset_minutes()),
    }
}

/// RFC 3339 with the offset. A commit may claim any time at all; what no calendar has becomes the nearest it has.
fn timestamp(seconds: i64, offset_minutes: i32) -> String {
    use jiff::Timestamp;
    use jiff::tz::Offset;
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let at = Timestamp::from_second(seconds.clamp(first, last)).unwrap_or_default();
    let offset = Offset::from_seconds(offset_minutes.saturating_mul(60)).unwrap_or(Offset::UTC);
    at.display_with_offset(offset).to_string()
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn times_keep_their_offset() {
        assert_eq!(timestamp(0, 0), "1970-01-01T00:00:00+00:00");
        assert_eq!(timestamp(1_700_000_000, 330), "2023-11-15T03:43:20+05:30");
        assert_eq!(timestamp(1_700_000_000, -480), "2023-11-14T14:13:20-08:00");
    }

    #[test]
    fn times_that_cannot_be_do_no_harm() {
        for (seconds, offset) in [(i64::MIN, 0), (i64::MAX, i32::MAX), (0, i32::MIN)] {
            assert!(timestamp(seconds, offset).contains('T'));
        }
    }
}
