//! Runners, and those who stand between users and sandboxes, from the one door.

use std::sync::Arc;
use std::time::Duration;

use alcove_domain::{Heartbeat, NewRunner, Port, Runner, RunnerId, Sandbox};

use super::Control;
use crate::{Caller, CreatedRunner, Error, Gate, RunnerView};

impl Control {
    /// Runners of the caller's organization, and for the administrator those of the server.
    pub async fn list_runners(
        &self,
        caller: &Caller,
        region: Option<&str>,
    ) -> Result<Vec<RunnerView>, Error> {
        self.shared.list_runners(caller, region).await
    }

    /// All runners, for the administrator.
    pub async fn list_all_runners(
        &self,
        caller: &Caller,
        region: Option<&str>,
    ) -> Result<Vec<RunnerView>, Error> {
        self.shared.list_all_runners(caller, region).await
    }

    pub async fn get_runner(&self, caller: &Caller, id: &str) -> Result<RunnerView, Error> {
        self.shared.get_runner(caller, id).await
    }

    /// Whosever it is, for the administrator.
    pub async fn get_any_runner(&self, caller: &Caller, id: &str) -> Result<RunnerView, Error> {
        self.shared.get_any_runner(caller, id).await
    }

    /// Registers a runner in a region of the caller's organization. Nothing is placed on it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the region has one of this name.
    pub async fn create_runner(
        &self,
        caller: &Caller,
        request: NewRunner,
    ) -> Result<CreatedRunner, Error> {
        self.shared.create_runner(caller, request).await
    }

    /// Registers one in any region, for the administrator.
    ///
    /// # Errors
    /// As [`Control::create_runner`]; a key that another has is a conflict too.
    pub async fn create_any_runner(
        &self,
        caller: &Caller,
        request: NewRunner,
    ) -> Result<CreatedRunner, Error> {
        self.shared.create_any_runner(caller, request).await
    }

    /// Closes a runner to new sandboxes, or opens it. What it has goes on.
    pub async fn set_unschedulable(
        &self,
        caller: &Caller,
        id: &str,
        is_unschedulable: bool,
    ) -> Result<RunnerView, Error> {
        self.shared
            .set_unschedulable(caller, id, is_unschedulable)
            .await
    }

    /// The same of any runner, for the administrator.
    pub async fn set_any_unschedulable(
        &self,
        caller: &Caller,
        id: &str,
        is_unschedulable: bool,
    ) -> Result<RunnerView, Error> {
        self.shared
            .set_any_unschedulable(caller, id, is_unschedulable)
            .await
    }

    /// Begins to empty a runner, or takes it back.
    pub async fn set_draining(
        &self,
        caller: &Caller,
        id: &str,
        is_draining: bool,
    ) -> Result<RunnerView, Error> {
        self.shared.set_draining(caller, id, is_draining).await
    }

    /// # Errors
    /// [`Error::Invalid`] for the one that is part of the server, and one that is open to new sandboxes; with `force`, for
    /// one that is ready.
    pub async fn delete_runner(&self, caller: &Caller, id: &str, force: bool) -> Result<(), Error> {
        self.shared.delete_runner(caller, id, force).await
    }

    /// The same of any runner, for the administrator.
    ///
    /// # Errors
    /// As [`Control::delete_runner`].
    pub async fn delete_any_runner(
        &self,
        caller: &Caller,
        id: &str,
        force: bool,
    ) -> Result<(), Error> {
        self.shared.delete_any_runner(caller, id, force).await
    }

    /// Whether nothing needs an image any more, for the administrator.
    pub async fn can_clean_up_image(&self, caller: &Caller, image: &str) -> Result<bool, Error> {
        self.shared.can_clean_up_image(caller, image).await
    }

    /// The runner that comes with this key. None for any other text.
    pub fn runner_by_key(&self, key: &str) -> Option<Arc<Runner>> {
        self.shared.runner_by_key(key)
    }

    /// A runner as it sees itself.
    pub async fn view_own_runner(&self, id: &RunnerId) -> Result<RunnerView, Error> {
        self.shared.view_own_runner(id).await
    }

    /// Takes what a runner says of itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be said of a host.
    pub async fn take_heartbeat(&self, id: &RunnerId, beat: &Heartbeat) -> Result<(), Error> {
        self.shared.take_heartbeat(id, beat).await
    }

    /// Holds the call of a runner that asks for work, which there is none of for it: until the time is up, the runner is
    /// deleted, or the server stops.
    pub async fn wait_for_jobs(&self, id: &RunnerId, timeout: Duration) {
        let shared = &self.shared;
        tokio::select! {
            () = shared.clock.sleep(timeout) => {}
            () = shared.runner_gone(id) => {}
            () = shared.cancelled() => {}
        }
    }

    /// Who comes with the key of a proxy, or, where `ssh` may ask too, of an SSH gateway. None for any other text.
    pub fn gate_by_key(&self, key: &str, ssh: bool) -> Option<Gate> {
        self.shared.gate_by_key(key, ssh)
    }

    /// # Errors
    /// [`Error::Forbidden`] for whoever does not administer the server.
    pub async fn gate_by_caller(&self, caller: &Caller) -> Result<Gate, Error> {
        self.shared.gate_by_caller(caller).await
    }

    /// # Errors
    /// [`Error::NotFound`] for a sandbox that is not there, not the gate's, or not public.
    pub fn preview_is_public(&self, gate: &Gate, id_or_name: &str) -> Result<(), Error> {
        self.shared.preview_is_public(gate, id_or_name)
    }

    /// Whether a preview token opens a port of a sandbox, or all of them where none is named.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not, or there is no such sandbox for the gate.
    pub fn preview_token_opens(
        &self,
        gate: &Gate,
        id_or_name: &str,
        token: &str,
        port: Option<Port>,
    ) -> Result<(), Error> {
        self.shared
            .preview_token_opens(gate, id_or_name, token, port)
    }

    /// The sandbox that a signed address opens this port of.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an address that is none, has ended, or leads elsewhere.
    pub fn preview_label_sandbox(
        &self,
        gate: &Gate,
        label: &str,
        port: Port,
    ) -> Result<Arc<Sandbox>, Error> {
        self.shared.preview_label_sandbox(gate, label, port)
    }

    /// The key that URLs of a sandbox's files are signed with.
    pub async fn preview_signing_key(
        &self,
        gate: &Gate,
        id_or_name: &str,
    ) -> Result<String, Error> {
        self.shared.preview_signing_key(gate, id_or_name).await
    }

    /// The sandbox of an id, a name, or, with its port, of a signed address.
    pub fn preview_sandbox(
        &self,
        gate: &Gate,
        place: &str,
        port: Option<Port>,
    ) -> Result<Arc<Sandbox>, Error> {
        self.shared.preview_sandbox(gate, place, port)
    }

    /// The runner that a sandbox is on.
    pub async fn runner_of_sandbox(
        &self,
        gate: &Gate,
        id_or_name: &str,
    ) -> Result<RunnerView, Error> {
        self.shared.runner_of_sandbox(gate, id_or_name).await
    }

    /// Runners that have an image.
    pub async fn runners_with_image(
        &self,
        gate: &Gate,
        image: &str,
    ) -> Result<Vec<Arc<Runner>>, Error> {
        self.shared.runners_with_image(gate, image).await
    }

    /// A runner, for who stands before its region.
    pub async fn runner_for_gate(&self, gate: &Gate, id: &str) -> Result<RunnerView, Error> {
        self.shared.runner_for_gate(gate, id).await
    }
}
