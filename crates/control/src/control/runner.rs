//! Runners, and those who stand between users and sandboxes, from the one door. A caller that goes away must not leave a
//! change of a runner in the store that memory does not know.

use std::collections::BTreeSet;
use std::sync::Arc;

use alcove_domain::runner::{JobsAsked, WorkAsked};
use alcove_domain::{Heartbeat, NewRunner, Port, Runner, RunnerId, Sandbox, SandboxState};

use super::Control;
use crate::shared::Shared;
use crate::{Caller, CreatedRunner, Error, Gate, Job, JobEnd, JobsPage, RunnerClient, RunnerView};

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

    /// Registers a runner in a region of the caller's organization. It is placed on once it has come.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the region has one of this name.
    pub async fn create_runner(
        &self,
        caller: &Caller,
        request: NewRunner,
    ) -> Result<CreatedRunner, Error> {
        let caller = caller.clone();
        let task =
            |shared: Arc<Shared>| async move { shared.create_runner(&caller, request).await };
        self.shared
            .finish_shared("registering a runner", task)
            .await
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
        let caller = caller.clone();
        let task =
            |shared: Arc<Shared>| async move { shared.create_any_runner(&caller, request).await };
        self.shared
            .finish_shared("registering a runner", task)
            .await
    }

    /// Closes a runner to new sandboxes, or opens it. What it has goes on.
    pub async fn set_unschedulable(
        &self,
        caller: &Caller,
        id: &str,
        is_unschedulable: bool,
    ) -> Result<RunnerView, Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task = |shared: Arc<Shared>| async move {
            shared
                .set_unschedulable(&caller, &id, is_unschedulable)
                .await
        };
        self.shared.finish_shared("changing a runner", task).await
    }

    /// The same of any runner, for the administrator.
    pub async fn set_any_unschedulable(
        &self,
        caller: &Caller,
        id: &str,
        is_unschedulable: bool,
    ) -> Result<RunnerView, Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task = |shared: Arc<Shared>| async move {
            shared
                .set_any_unschedulable(&caller, &id, is_unschedulable)
                .await
        };
        self.shared.finish_shared("changing a runner", task).await
    }

    /// Begins to empty a runner, or takes it back.
    pub async fn set_draining(
        &self,
        caller: &Caller,
        id: &str,
        is_draining: bool,
    ) -> Result<RunnerView, Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task = |shared: Arc<Shared>| async move {
            shared.set_draining(&caller, &id, is_draining).await
        };
        self.shared.finish_shared("changing a runner", task).await
    }

    /// # Errors
    /// [`Error::Invalid`] for the one that is part of the server, and one that is open to new sandboxes; with `force`, for
    /// one that is ready.
    pub async fn delete_runner(&self, caller: &Caller, id: &str, force: bool) -> Result<(), Error> {
        let (caller, id) = (caller.clone(), id.to_owned());
        let task =
            |shared: Arc<Shared>| async move { shared.delete_runner(&caller, &id, force).await };
        self.shared.finish_shared("deleting a runner", task).await
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
        let (caller, id) = (caller.clone(), id.to_owned());
        let task = |shared: Arc<Shared>| async move {
            shared.delete_any_runner(&caller, &id, force).await
        };
        self.shared.finish_shared("deleting a runner", task).await
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
        let (id, beat) = (id.clone(), beat.clone());
        let task = |shared: Arc<Shared>| async move { shared.take_heartbeat(&id, &beat).await };
        self.shared.finish_shared("changing a runner", task).await
    }

    /// Whether a data folder may join with the key of a runner, and notes that it does.
    ///
    /// # Errors
    /// [`Error::Conflict`] while the runner has sandboxes in another data folder, or is there from another.
    pub async fn admit_runner(&self, id: &RunnerId, instance: &str) -> Result<(), Error> {
        let (id, instance) = (id.clone(), instance.to_owned());
        let task = |shared: Arc<Shared>| async move { shared.admit_runner(&id, &instance).await };
        self.shared.finish_shared("changing a runner", task).await
    }

    /// Works with a runner that has come from a process of its own: its sandboxes are given orders from now on. Resolves when
    /// `ended` does, a newer connection takes its place, the runner is deleted, or the server stops.
    pub async fn attend_runner(
        &self,
        id: &RunnerId,
        client: Arc<dyn RunnerClient>,
        ended: impl Future<Output = ()> + Send,
    ) {
        self.shared.attend_runner(id, client, ended).await;
    }

    /// Open orders for the sandboxes of a runner, the oldest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a part that is out of bounds.
    pub fn list_jobs(
        &self,
        runner: &RunnerId,
        asked: &JobsAsked,
        is_told: impl Fn(&Job) -> bool,
    ) -> Result<JobsPage, Error> {
        self.shared.page_jobs(runner, asked, is_told)
    }

    /// # Errors
    /// [`Error::NotFound`] for one that is over, or another runner's.
    pub fn get_job(&self, runner: &RunnerId, id: &str) -> Result<Job, Error> {
        self.shared.job_of(runner, id)
    }

    /// Gives a runner that is not linked jobs that nobody has, and holds the call until there is one or the time is up.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than is given out at once, or held.
    pub async fn take_jobs(&self, runner: &RunnerId, asked: &WorkAsked) -> Result<Vec<Job>, Error> {
        self.shared.take_jobs(runner, asked).await
    }

    /// Takes what a runner says of a job: that it is under way, with None, or how it ended.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is over, [`Error::Conflict`] for one that the runner has over its link.
    pub async fn tell_job(
        &self,
        runner: &RunnerId,
        id: &str,
        end: Option<JobEnd>,
    ) -> Result<Job, Error> {
        self.shared.end_job(runner, id, end).await
    }

    /// Sandboxes that are on a runner, in these states or in any, the oldest first.
    pub fn sandboxes_of_runner(
        &self,
        runner: &RunnerId,
        states: &[SandboxState],
        skips_changing: bool,
    ) -> Vec<Arc<Sandbox>> {
        self.shared
            .sandboxes_of_runner(runner, states, skips_changing)
    }

    /// Images that sandboxes on a runner are of, by digest.
    pub fn images_of_runner(&self, runner: &RunnerId) -> Vec<String> {
        let images: BTreeSet<String> = self.shared.images_on(runner).collect();
        images
            .into_iter()
            .filter(|image| !image.is_empty())
            .collect()
    }

    /// Takes what a runner says that one of its sandboxes is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not on it.
    pub async fn note_sandbox_state(
        &self,
        runner: &RunnerId,
        sandbox: &str,
        state: SandboxState,
        reason: Option<String>,
        has_disk: bool,
    ) -> Result<(), Error> {
        self.shared
            .note_sandbox_state(runner, sandbox, state, reason, has_disk)
            .await
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
