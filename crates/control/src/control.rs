//! The use-cases.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alcove_domain::{
    CursorPage, NewSandbox, OffsetPage, OrganizationId, Sandbox, SandboxId, SandboxState, Snapshot,
};
use alcove_store::Store;

use crate::{
    AgentConnection, Caller, Clock, DialError, Error, EventStream, ListSandboxes, ListSnapshots,
    PageSandboxes, Rng, RunnerClient, Settings,
};

/// The control plane. Clones are cheap and are the same one; it ends when the last is dropped.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    runner: Arc<dyn RunnerClient>,
    settings: Settings,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// What the first start made.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub organization: OrganizationId,
    /// Whether this call made the administrator, as opposed to finding one.
    pub is_first: bool,
}

/// Which parts answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    pub store: bool,
    pub runner: bool,
}

/// Where a toolbox request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolboxTarget {
    pub sandbox: SandboxId,
    /// Grows with each start: connections made under an older one are of no use.
    pub generation: u64,
    pub state: SandboxState,
}

fn unfinished() -> Error {
    Error::Internal {
        doing: "not wired up",
        cause: None,
    }
}

impl Control {
    /// Opens the control plane: takes up what an earlier process left unfinished, compares with the
    /// runner's inventory, registers the runner's images as snapshots and starts the timers.
    pub async fn open(
        _store: Store,
        runner: Arc<dyn RunnerClient>,
        _clock: Arc<dyn Clock>,
        _rng: Arc<dyn Rng>,
        settings: Settings,
    ) -> Result<Self, Error> {
        Ok(Self {
            inner: Arc::new(Inner { runner, settings }),
        })
    }

    /// Makes the administrator, a personal organization and an API key with this text, unless they
    /// exist. A changed key replaces the old bootstrap key.
    pub async fn bootstrap(&self, _admin_key: &str) -> Result<Bootstrap, Error> {
        Err(unfinished())
    }

    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Ends all tasks at their next step and writes down what is only in memory.
    pub async fn shutdown(&self) {}

    pub async fn readiness(&self) -> Readiness {
        Readiness {
            store: false,
            runner: false,
        }
    }

    pub async fn authenticate(&self, _bearer: &str) -> Result<Caller, Error> {
        Err(unfinished())
    }

    pub async fn create_sandbox(
        &self,
        _caller: &Caller,
        _request: NewSandbox,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn get_sandbox(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn list_sandboxes(
        &self,
        _caller: &Caller,
        _list: ListSandboxes,
    ) -> Result<CursorPage<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn list_sandboxes_page(
        &self,
        _caller: &Caller,
        _list: PageSandboxes,
    ) -> Result<OffsetPage<Sandbox>, Error> {
        Err(unfinished())
    }

    /// Taken in every state. The name is free as soon as this answers.
    pub async fn delete_sandbox(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn start_sandbox(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn stop_sandbox(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _force: bool,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn replace_labels(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _labels: BTreeMap<String, String>,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn set_auto_stop(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn set_auto_pause(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn set_auto_archive(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn set_auto_delete(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn set_ttl(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _minutes: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    pub async fn set_public(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
        _is_public: bool,
    ) -> Result<Arc<Sandbox>, Error> {
        Err(unfinished())
    }

    /// `POST …/last-activity`: the caller says that the sandbox is in use.
    pub fn update_last_activity(&self, _caller: &Caller, _id_or_name: &str) -> Result<(), Error> {
        Err(unfinished())
    }

    /// Notes that a request went into the sandbox. Memory only; written down now and then.
    pub fn record_activity(&self, _sandbox: &SandboxId) {}

    pub async fn list_snapshots(
        &self,
        _caller: &Caller,
        _list: ListSnapshots,
    ) -> Result<OffsetPage<Snapshot>, Error> {
        Err(unfinished())
    }

    pub async fn get_snapshot(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
    ) -> Result<Snapshot, Error> {
        Err(unfinished())
    }

    /// Where the caller's toolbox request goes; memory only.
    ///
    /// # Errors
    /// [`Error::Invalid`] with code `SANDBOX_NOT_STARTED` if it is not running.
    pub fn resolve_toolbox(
        &self,
        _caller: &Caller,
        _id_or_name: &str,
    ) -> Result<ToolboxTarget, Error> {
        Err(unfinished())
    }

    /// A fresh connection to the sandbox's agent.
    pub async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        self.inner.runner.dial_agent(sandbox).await
    }

    /// Events of an organization from now on.
    pub fn subscribe_events(&self, _organization: &OrganizationId) -> EventStream {
        Box::pin(futures_util::stream::empty())
    }
}
