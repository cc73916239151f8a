//! Linked sandboxes: who may be followed, and that followers go with their owners.
//!
//! The second is written down nowhere but in the follower's row, which names its owner: a follower whose owner is gone,
//! or is on its way out, is to be deleted. So whoever deletes an owner has deleted its followers in the same transaction,
//! and a process that is killed before they are told finds the difference again.

use std::sync::Arc;

use alcove_domain::{Command, DesiredState, LinkFacts, Reason, Sandbox, SandboxId, link};
use alcove_store::Tx;

use crate::directory::Entry;
use crate::driver::Wish;
use crate::sandboxes::{find, wish};
use crate::shared::Shared;
use crate::{Caller, Error};

/// The owner that a request names, and how many follow it.
pub(crate) struct Owner {
    sandbox: Arc<Sandbox>,
    followers: usize,
}

impl Owner {
    /// Looks for the sandbox that a new one is to be linked with, if it is.
    pub fn find(
        shared: &Shared,
        caller: &Caller,
        asked: Option<&str>,
    ) -> Result<Option<Self>, Error> {
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
            return Ok(None);
        };
        let entry = find(shared, caller, asked)?;
        let followers = shared.directory.followers(&entry.id);
        let is_staying = |follower: &&Arc<Entry>| !is_leaving(&follower.sandbox());
        Ok(Some(Self {
            sandbox: entry.sandbox(),
            followers: followers.iter().filter(is_staying).count(),
        }))
    }

    pub fn sandbox(self) -> Arc<Sandbox> {
        self.sandbox
    }

    pub fn id(&self) -> &SandboxId {
        &self.sandbox.id
    }

    pub fn facts<'a>(&'a self, region: &'a str) -> LinkFacts<'a> {
        LinkFacts {
            owner: &self.sandbox,
            followers: self.followers,
            region,
        }
    }
}

/// Makes sure that what the link of a new sandbox rests on still holds where it is written.
pub(crate) async fn hold(tx: &Tx, sandbox: &Sandbox) -> Result<(), Error> {
    let Some(owner) = &sandbox.linked_to else {
        return Ok(());
    };
    let found = tx.sandbox_find_owner(owner).await;
    let found = found.map_err(|error| Error::store("linking a sandbox", error))?;
    let Some((owner, followers)) = found else {
        return Err(Error::refused(vec![Reason::invalid(
            "The sandbox to link with is gone",
        )]));
    };
    let mut reasons = Vec::new();
    let facts = LinkFacts {
        owner: &owner,
        followers: usize::try_from(followers).unwrap_or(usize::MAX),
        region: &sandbox.region,
    };
    link::check_owner(facts, &mut reasons);
    Error::check(reasons)
}

fn is_leaving(sandbox: &Sandbox) -> bool {
    sandbox.desired_state() == DesiredState::Destroyed
}

/// Whether a sandbox is linked with one that is no more, or will not be.
fn has_lost_its_owner(shared: &Shared, sandbox: &Sandbox) -> bool {
    let Some(owner) = &sandbox.linked_to else {
        return false;
    };
    let owner = shared.directory.get(owner);
    !is_leaving(sandbox) && owner.is_none_or(|owner| is_leaving(&owner.sandbox()))
}

/// Deletes a follower if its owner goes.
pub(crate) async fn follow(shared: &Arc<Shared>, follower: &Arc<Entry>) {
    if !has_lost_its_owner(shared, &follower.sandbox()) {
        return;
    }
    match wish(shared, follower, Wish::Plain(Command::Delete)).await {
        Ok(_) => tracing::info!(
            sandbox.id = %follower.id,
            "{} goes with the sandbox that it is linked with", follower.id
        ),
        // The safety net tries again.
        Err(error) => tracing::error!(
            sandbox.id = %follower.id, %error,
            "cannot delete {} with the sandbox that it is linked with", follower.id
        ),
    }
}

/// Deletes the followers of a sandbox that goes, in a task of its own.
pub(crate) fn take_along(shared: &Arc<Shared>, owner: &SandboxId) {
    let followers = shared.directory.followers(owner);
    if followers.is_empty() {
        return;
    }
    let task = Arc::clone(shared);
    shared.spawn(async move {
        for follower in followers {
            follow(&task, &follower).await;
        }
    });
}

/// Deletes those whose owners went while nobody told them.
pub(crate) async fn take_up(shared: &Arc<Shared>) {
    for entry in shared.directory.entries() {
        follow(shared, &entry).await;
    }
}
