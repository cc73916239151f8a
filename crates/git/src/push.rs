//! Pushing a branch to the same name on a remote.

use alcove_agent_api::{ErrorCode, GitPushRequest};
use git2::Repository;

use crate::credentials::Credentials;
use crate::helper::Cancel;
use crate::network::Network;
use crate::repository::{self, Head};
use crate::url::Url;
use crate::{Fault, branches, names, remotes};

pub fn push(order: &GitPushRequest, cancel: &Cancel) -> Result<(), Fault> {
    let repository = repository::open(&order.path)?;
    let branch = match names::given(order.branch.as_ref()) {
        Some(branch) => names::branch(branch)?.to_owned(),
        None => match Head::of(&repository)? {
            Head::Branch(name) | Head::Unborn(name) => name,
            Head::Detached => {
                let message = "no branch is checked out; name the one to push";
                return Err(Fault::new(ErrorCode::NotFound, message));
            }
        },
    };
    let local =
        branches::find_local(&repository, &branch)?.ok_or_else(|| branches::unknown(&branch))?;
    let id = local.into_reference().peel_to_commit()?.id();
    let remote = names::given(order.remote.as_ref()).unwrap_or("origin");
    let found = remotes::find(&repository, remote)?;
    let address = found.pushurl_bytes().unwrap_or(found.url_bytes());
    let url = Url::parse(&String::from_utf8_lossy(address))?;
    let credentials = Credentials::given(order.username.as_ref(), order.password.as_ref());
    let network = Network::new(&repository, credentials, cancel)?;
    network.connect(found, url)?.push(&branch)?;

    let tracking = format!("refs/remotes/{remote}/{branch}");
    if order.set_upstream == Some(true) {
        track(&repository, remote, &branch)?;
        repository.reference(&tracking, id, true, "push")?;
    } else if repository.find_reference(&tracking).is_ok() {
        repository.reference(&tracking, id, true, "push")?;
    }
    Ok(())
}

/// Notes the remote's branch down as the upstream. A clone of a single branch knows of that one only: the remote's
/// refspecs are widened by the branch, or the upstream would have no name here.
fn track(repository: &Repository, remote: &str, branch: &str) -> Result<(), Fault> {
    let theirs = format!("refs/heads/{branch}");
    let is_covered = remotes::find(repository, remote)?
        .refspecs()
        .any(|spec| spec.direction() == git2::Direction::Fetch && spec.src_matches(&theirs));
    if !is_covered {
        let spec = format!("+{theirs}:refs/remotes/{remote}/{branch}");
        repository.remote_add_fetch(remote, &spec)?;
    }
    let mut config = repository.config()?.open_level(git2::ConfigLevel::Local)?;
    config.set_str(&format!("branch.{branch}.remote"), remote)?;
    Ok(config.set_str(&format!("branch.{branch}.merge"), &theirs)?)
}
