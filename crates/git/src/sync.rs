//! Pulling: what the upstream has comes here, as long as nothing has to be merged.

use alcove_agent_api::{ErrorCode, GitPullRequest};
use git2::{Commit, ErrorCode as GitCode, Oid, Repository};

use crate::carry::{carry_over, refuse_unmerged};
use crate::credentials::Credentials;
use crate::helper::Cancel;
use crate::network::{Depth, Network, Tags};
use crate::repository::{self, Head, head_commit};
use crate::url::Url;
use crate::{Fault, branches, names, remotes};

pub fn pull(order: &GitPullRequest, cancel: &Cancel) -> Result<(), Fault> {
    let repository = repository::open_with_work_tree(&order.path)?;
    refuse_unmerged(&repository)?;
    let head = Head::of(&repository)?;
    let Some(current) = head.branch() else {
        let message = "no branch is checked out, so there is nothing to pull into";
        return Err(Fault::new(ErrorCode::NotFound, message));
    };
    let upstream = Upstream::of(&repository, current, order)?;
    let id = if upstream.remote == "." {
        local_upstream(&repository, &upstream.branch)?
    } else {
        let credentials = Credentials::given(order.username.as_ref(), order.password.as_ref());
        fetch(&repository, &upstream, credentials, cancel)?
    };
    let theirs = repository.find_commit(id)?;
    fast_forward(&repository, current, &theirs)
}

/// Where a branch pulls from.
struct Upstream {
    remote: String,
    branch: String,
}

impl Upstream {
    /// What the request says, else what is noted down for the branch, else the branch of the same name on `origin`.
    fn of(repository: &Repository, current: &str, order: &GitPullRequest) -> Result<Self, Fault> {
        let config = repository.config()?.snapshot()?;
        let noted = |what: &str| config.get_string(&format!("branch.{current}.{what}")).ok();
        let noted_remote = noted("remote");
        let given_remote = names::given(order.remote.as_ref()).map(str::to_owned);
        let remote = given_remote
            .clone()
            .or_else(|| noted_remote.clone())
            .unwrap_or_else(|| "origin".to_owned());
        // What is noted down is a branch of the remote that is noted down.
        let is_noted_remote = noted_remote.as_deref() == Some(remote.as_str());
        let noted_branch = noted("merge").filter(|_| is_noted_remote);
        let branch = match names::given(order.branch.as_ref()) {
            Some(branch) => names::branch(branch)?.to_owned(),
            None => noted_branch
                .and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned))
                .unwrap_or_else(|| current.to_owned()),
        };
        Ok(Self { remote, branch })
    }
}

fn local_upstream(repository: &Repository, branch: &str) -> Result<Oid, Fault> {
    let branch =
        branches::find_local(repository, branch)?.ok_or_else(|| branches::unknown(branch))?;
    Ok(branch.into_reference().peel_to_commit()?.id())
}

fn fetch(
    repository: &Repository,
    upstream: &Upstream,
    credentials: Option<Credentials>,
    cancel: &Cancel,
) -> Result<Oid, Fault> {
    let Upstream { remote, branch } = upstream;
    let found = remotes::find(repository, remote)?;
    let url = Url::parse(&String::from_utf8_lossy(found.url_bytes()))?;
    let network = Network::new(repository, credentials, cancel)?;
    let mut wire = network.connect(found, url)?;
    let theirs = format!("refs/heads/{branch}");
    if wire.list()?.get(&theirs).is_none() {
        let message = format_args!("the remote {remote:?} has no branch {branch:?}");
        return Err(Fault::new(ErrorCode::GitBranchNotFound, message));
    }
    let ours = format!("refs/remotes/{remote}/{branch}");
    wire.fetch(&[format!("+{theirs}:{ours}")], Depth::All, Tags::Reached)?;
    Ok(repository.refname_to_id(&ours)?)
}

fn fast_forward(repository: &Repository, current: &str, theirs: &Commit<'_>) -> Result<(), Fault> {
    let ours = head_commit(repository)?;
    if let Some(ours) = &ours {
        let is_ahead = |later: Oid, earlier: Oid| -> Result<bool, Fault> {
            Ok(later == earlier || repository.graph_descendant_of(later, earlier)?)
        };
        if is_ahead(ours.id(), theirs.id())? {
            return Ok(());
        }
        if !is_ahead(theirs.id(), ours.id())? {
            let message = format_args!(
                "{current:?} and its upstream have diverged: a pull only goes forward; merge or rebase"
            );
            return Err(Fault::new(ErrorCode::Conflict, message));
        }
    }
    let from = ours.as_ref().map(Commit::tree).transpose()?;
    carry_over(repository, from.as_ref(), &theirs.tree()?)?;
    let name = format!("refs/heads/{current}");
    // Only from where we looked: somebody in the sandbox may have committed meanwhile.
    let moved = match &ours {
        Some(ours) => {
            repository.reference_matching(&name, theirs.id(), true, ours.id(), "pull: Fast-forward")
        }
        None => repository.reference(&name, theirs.id(), false, "pull"),
    };
    moved.map(|_| ()).map_err(|error| match error.code() {
        GitCode::Modified | GitCode::Exists => {
            let message = format_args!("{current:?} has changed during the pull");
            Fault::new(ErrorCode::Conflict, message)
        }
        _ => error.into(),
    })
}
