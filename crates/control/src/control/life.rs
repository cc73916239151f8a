//! What callers make of a sandbox beyond starting and stopping it.

use std::sync::Arc;

use alcove_domain::{
    Command, FaultCode, Permission, Reason, ResizeRequest, Sandbox, SandboxId, SandboxState,
    SnapshotId, snapshot, text,
};

use super::Control;
use crate::driver::{ForkTerms, SnapshotBirth, Wish};
use crate::rng::uuid_v4;
use crate::sandboxes::{self, Until};
use crate::shared::lock;
use crate::{Caller, Error};

/// Forks that one list gives.
const FORKS_MAX: u64 = 100;
/// Generations that are gone back to.
const ANCESTORS_MAX: usize = 50;

impl Control {
    /// Holds every process of a started sandbox where it is, with its memory, and waits for it. Starting it
    /// lets it go on.
    pub async fn pause_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        let wish = Wish::Plain(Command::Pause);
        self.ask_and_wait(caller, id_or_name, wish, "SANDBOX_PAUSE_FAILED")
            .await
    }

    /// Puts a stopped sandbox's disk into the archive and waits for it. Starting it brings it back.
    pub async fn archive_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        let wish = Wish::Plain(Command::Archive);
        self.ask_and_wait(caller, id_or_name, wish, "SANDBOX_ARCHIVE_FAILED")
            .await
    }

    /// What callers know as a backup is the archive: a sandbox in it has one, and nothing is done. Any other has none, and
    /// gets none: an archive beside a disk that is written to would be out of date at once.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] for a sandbox that is not in the archive.
    pub fn backup_sandbox(&self, caller: &Caller, id_or_name: &str) -> Result<Arc<Sandbox>, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let sandbox = sandboxes::find(&self.shared, caller, id_or_name)?.current();
        match sandbox.state() {
            SandboxState::Archived | SandboxState::Archiving | SandboxState::Restoring => {
                Ok(sandbox)
            }
            _ => Err(Error::Unprocessable {
                reasons: vec![Reason::unsupported(
                    "A sandbox has a backup only in the archive: archive it, or make a snapshot of it",
                )],
            }),
        }
    }

    /// Gives a sandbox other sizes and waits for it.
    pub async fn resize_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
        request: ResizeRequest,
    ) -> Result<Arc<Sandbox>, Error> {
        let wish = Wish::Resize(request);
        self.ask_and_wait(caller, id_or_name, wish, "SANDBOX_RESIZE_FAILED")
            .await
    }

    /// Makes a snapshot of a sandbox's files, for the organization, and waits for it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the organization has a snapshot of this name.
    pub async fn snapshot_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
        name: String,
        include_memory: bool,
    ) -> Result<Arc<Sandbox>, Error> {
        let mut reasons = Vec::new();
        snapshot::check_name(&name, &mut reasons);
        if include_memory {
            reasons.push(Reason::invalid(
                "includeMemory is not supported for sandboxes of class container",
            ));
        }
        Error::check(reasons)?;
        self.make_snapshot(caller, id_or_name, name, SnapshotBirth::default())
            .await
    }

    pub(crate) async fn make_snapshot(
        &self,
        caller: &Caller,
        id_or_name: &str,
        name: String,
        birth: SnapshotBirth,
    ) -> Result<Arc<Sandbox>, Error> {
        let id = SnapshotId::from_uuid(uuid_v4(&*self.shared.rng));
        let wish = Wish::Snapshot { id, name, birth };
        self.ask_and_wait(caller, id_or_name, wish, "SANDBOX_SNAPSHOT_FAILED")
            .await
    }

    /// Tries again what ended in an error: starts the sandbox, or with `skip_start` only brings it to a
    /// stop, and waits for it.
    pub async fn recover_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
        skip_start: bool,
    ) -> Result<Arc<Sandbox>, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let entry = sandboxes::find(&self.shared, caller, id_or_name)?;
        let command = Command::Recover { skip_start };
        sandboxes::wish(&self.shared, &entry, Wish::Plain(command)).await?;
        let until = if skip_start {
            Until::Stopped
        } else {
            Until::Started
        };
        let sandbox = sandboxes::wait(&self.shared, &entry, until).await;
        self.events_told().await;
        sandbox
    }

    /// Makes a new sandbox with a copy of this one's files and waits for the new one to run.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the new sandbox's id if it could not be started: it is there, in `error`.
    pub async fn fork_sandbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
        name: Option<String>,
    ) -> Result<Arc<Sandbox>, Error> {
        let id = SandboxId::from_uuid(uuid_v4(&*self.shared.rng));
        self.fork_as(caller, id_or_name, name, id, ForkTerms::default())
            .await
    }

    /// Makes the fork of this id.
    pub(super) async fn fork_as(
        &self,
        caller: &Caller,
        id_or_name: &str,
        name: Option<String>,
        id: SandboxId,
        terms: ForkTerms,
    ) -> Result<Arc<Sandbox>, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let parent = sandboxes::find(&self.shared, caller, id_or_name)?;
        let name = match name.filter(|name| !name.is_empty()) {
            None => id.to_string(),
            Some(name) => {
                let mut reasons = Vec::new();
                text::check_sandbox_name(&name, id.as_str(), &mut reasons);
                Error::check(reasons)?;
                name
            }
        };
        if self
            .shared
            .directory
            .holds_name(&caller.organization, &name)
        {
            return Err(sandboxes::name_taken(&name));
        }
        let wish = Wish::Fork {
            id: id.clone(),
            name,
            terms,
        };
        sandboxes::wish(&self.shared, &parent, wish).await?;
        let child = sandboxes::find(&self.shared, caller, id.as_str())?;
        let sandbox = sandboxes::wait(&self.shared, &child, Until::Started).await;
        self.events_told().await;
        sandbox
    }

    /// Forks of a sandbox, oldest first.
    pub async fn list_forks(
        &self,
        caller: &Caller,
        id_or_name: &str,
        with_destroyed: bool,
    ) -> Result<Vec<Sandbox>, Error> {
        let parent = sandboxes::find(&self.shared, caller, id_or_name)?;
        let reader = self.shared.store.reader();
        reader
            .sandbox_list_forks(&caller.organization, &parent.id, with_destroyed, FORKS_MAX)
            .await
            .map_err(|error| Error::store("listing forks", error))
    }

    /// The sandbox that this one is a fork of.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is no fork, or its parent is gone.
    pub fn find_parent(&self, caller: &Caller, id_or_name: &str) -> Result<Arc<Sandbox>, Error> {
        let child = sandboxes::find(&self.shared, caller, id_or_name)?.sandbox();
        let parent = child
            .parent_id
            .as_ref()
            .and_then(|id| sandboxes::find(&self.shared, caller, id.as_str()).ok());
        parent
            .map(|entry| entry.current())
            .ok_or_else(|| Error::NotFound {
                message: format!("Sandbox {id_or_name} has no parent"),
            })
    }

    /// The line that a fork stems from, the oldest first; destroyed ones are in it as long as their rows
    /// are kept.
    pub async fn list_ancestors(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<Vec<Sandbox>, Error> {
        let sandbox = sandboxes::find(&self.shared, caller, id_or_name)?.sandbox();
        let reader = self.shared.store.reader();
        let mut line = Vec::new();
        let mut next = sandbox.parent_id.clone();
        while let Some(id) = next.take()
            && line.len() < ANCESTORS_MAX
        {
            let found = reader
                .sandbox_find(&id)
                .await
                .map_err(|error| Error::store("looking for ancestors", error))?
                .filter(|found| found.organization_id == caller.organization);
            let Some(found) = found else { break };
            next.clone_from(&found.parent_id);
            line.push(found);
        }
        line.reverse();
        Ok(line)
    }

    /// Asks for a piece of work and waits for its end, as long as a call may take.
    async fn ask_and_wait(
        &self,
        caller: &Caller,
        id_or_name: &str,
        wish: Wish,
        code: &'static str,
    ) -> Result<Arc<Sandbox>, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let shared = &self.shared;
        let entry = sandboxes::find(shared, caller, id_or_name)?;
        let asked = sandboxes::wish(shared, &entry, wish).await?;
        let state = asked.lifecycle.phase.state();
        let sandbox = sandboxes::wait(shared, &entry, Until::Leaves(state)).await?;
        self.events_told().await;
        let undone = lock(&entry.undone).clone();
        let Some((_, fault)) =
            undone.filter(|(generation, _)| *generation == asked.lifecycle.generation)
        else {
            return Ok(sandbox);
        };
        if fault.code == FaultCode::Unsupported {
            return Err(Error::Unprocessable {
                reasons: vec![Reason::unsupported(fault.message)],
            });
        }
        Err(Error::Invalid {
            reasons: vec![Reason::invalid(fault.message)],
            code,
            sandbox: Some(sandbox.id.clone()),
            state: Some(sandbox.state()),
            fault: Some(fault.code),
        })
    }
}
