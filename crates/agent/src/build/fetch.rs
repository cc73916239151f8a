//! Fetches what a step of a build adds from elsewhere. The program that does git operations does it: it is the one that
//! speaks TLS, and what a server sends is read there and never here.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use alcove_agent_api::{
    BuildFetchRequest, BuildFetched, ErrorCode, GitCloneRequest, GitFault, GitOrder,
};

use super::copy::{digest_of, hex};
use crate::agent::Agent;
use crate::git;

/// Of a history only the last commit is wanted, where the server can be asked for it.
const DEPTH: i64 = 1;

/// Fetches into a path that is not there yet.
///
/// # Errors
/// The server's refusal, another content than was asked for, or what the disk said.
pub async fn fetch(agent: &Arc<Agent>, request: BuildFetchRequest) -> Result<(), GitFault> {
    let BuildFetchRequest {
        address,
        path,
        what,
    } = request;
    if let Some(parent) = Path::new(&path).parent() {
        fs::create_dir_all(parent).map_err(|error| of_disk(&path, &error))?;
    }
    match what {
        BuildFetched::File { checksum } => {
            let order = GitOrder::Download {
                address,
                path: path.clone(),
            };
            git::run(agent, order).await?;
            match checksum {
                Some(wanted) => in_blocking(move || check(&path, &wanted)).await,
                None => Ok(()),
            }
        }
        BuildFetched::Repository {
            branch,
            commit,
            keeps_git_dir,
        } => {
            let order = GitCloneRequest {
                url: address,
                path: path.clone(),
                branch,
                depth: commit.is_none().then_some(DEPTH),
                commit_id: commit,
                ..GitCloneRequest::default()
            };
            git::run(agent, GitOrder::Clone(order)).await?;
            if keeps_git_dir {
                return Ok(());
            }
            in_blocking(move || {
                let folder = Path::new(&path).join(".git");
                fs::remove_dir_all(folder).map_err(|error| of_disk(&path, &error))
            })
            .await
        }
    }
}

async fn in_blocking(
    work: impl FnOnce() -> Result<(), GitFault> + Send + 'static,
) -> Result<(), GitFault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(fault(ErrorCode::InternalServerError, "the fetch failed")))
}

fn check(path: &str, wanted: &str) -> Result<(), GitFault> {
    let read = File::open(path).and_then(digest_of);
    let found = hex(&read.map_err(|error| of_disk(path, &error))?);
    if found == wanted {
        return Ok(());
    }
    let message = format_args!("what was fetched has the checksum sha256:{found}");
    Err(fault(ErrorCode::UnprocessableEntity, message))
}

fn of_disk(path: &str, error: &io::Error) -> GitFault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
        _ => ErrorCode::BadRequest,
    };
    fault(code, format_args!("{path}: {error}"))
}

fn fault(code: ErrorCode, message: impl std::fmt::Display) -> GitFault {
    GitFault {
        code,
        message: message.to_string(),
    }
}
