//! Sandboxes with sessions as they begin: new ones, and forks.

use std::sync::Arc;

use alcove_domain::session::{self, ImageWord, Retention, SessionRecord, SessionTerms};
use alcove_domain::{
    NewSandbox, Permission, ResizeRequest, Sandbox, SandboxId, SandboxState, bounds,
};
use alcove_runner_api::Fetch;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::Control;
use crate::driver::ForkTerms;
use crate::probe::Step;
use crate::rng::uuid_v4;
use crate::sandboxes;
use crate::sessions::{
    Filling, NewSession, Session, SessionChange, SourcePieces, abandon, apply, check_region,
    expiration, kept_for, may_keep, not_fetched, timeout,
};
use crate::{Caller, Error};

/// A sandbox that is to be made.
struct SessionPlan {
    /// But for its labels.
    sandbox: NewSandbox,
    record: SessionRecord,
    /// Processors and GiB of memory that are not its snapshot's.
    sizes: Option<(i64, i64)>,
}

impl Control {
    /// Begins to fetch a file that a sandbox is to begin with. An error is the last of its pieces.
    ///
    /// # Errors
    /// [`Error::Invalid`] with code `SOURCE_NOT_FETCHED` if there is nothing, with the reason; the same among the pieces.
    pub async fn fetch_source(&self, caller: &Caller, url: &str) -> Result<SourcePieces, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let mut reasons = Vec::new();
        session::check_source_url(url, &mut reasons);
        Error::check(reasons)?;
        let order = Fetch {
            url: url.to_owned(),
            max_bytes: session::SOURCE_MAX_BYTES,
            within: session::SOURCE_WITHIN,
        };
        let fetched = self.shared.runner.fetch(order).await;
        let pieces = fetched.map_err(|error| not_fetched(&error))?;
        Ok(pieces.map_err(|error| not_fetched(&error)).boxed())
    }

    /// Makes a sandbox with its first session, which runs when this answers and has what `filling` puts into it. Until then
    /// it is marked in its row: whoever looks for it waits, and the next server removes it, since nobody was told of it.
    pub async fn create_session<E: From<Error> + Send + 'static>(
        &self,
        caller: &Caller,
        request: NewSession,
        filling: Option<Filling<E>>,
    ) -> Result<Session, E> {
        let name = request.name.clone();
        let mut plan = self.plan_session(caller, request).await?;
        plan.record.is_unfinished = filling.is_some() || plan.sizes.is_some();
        if let Some(name) = name {
            self.clear_way(caller, &name).await?;
        }
        let id = SandboxId::from_uuid(uuid_v4(&*self.shared.rng));
        let (control, caller) = (self.clone(), caller.clone());
        let task = async move {
            let _turn = control.shared.session_turns.take(&id).await;
            let begun = control.begin_new(&caller, &id, plan, filling).await;
            if begun.is_err() {
                // Nothing half-made may hold the name.
                abandon(&control.shared, &id).await;
            }
            Ok(begun)
        };
        // A caller that goes away must not leave what nobody finishes.
        self.shared.finish("making a sandbox", task).await?
    }

    async fn begin_new<E: From<Error>>(
        &self,
        caller: &Caller,
        id: &SandboxId,
        plan: SessionPlan,
        filling: Option<Filling<E>>,
    ) -> Result<Session, E> {
        let is_unfinished = plan.record.is_unfinished;
        let request = NewSandbox {
            labels: plan.record.labels(),
            is_unfinished,
            ..plan.sandbox
        };
        let made = sandboxes::create_as(&self.shared, caller, request, id.clone()).await;
        self.events_told().await;
        let made = made?;
        if made.state() != SandboxState::Started {
            return Err(E::from(Error::Unavailable {
                message: "The sandbox did not start in time",
                retry_after: None,
                cause: None,
            }));
        }
        if !is_unfinished {
            return Ok(Session::of(made));
        }
        self.shared.reached(Step::BeginsEmpty).await;
        if let Some((cpu, memory)) = plan.sizes {
            self.size(caller, &made, cpu, memory).await?;
        }
        if let Some(filling) = filling {
            filling(id.clone()).await?;
        }
        self.shared.reached(Step::BeginsWhole).await;
        // What it says by now: others may have written labels.
        let mut record = self.find_session(caller, id.as_str())?.record;
        record.is_unfinished = false;
        self.write(caller, id, &record, false).await?;
        Ok(self.find_session(caller, id.as_str())?)
    }

    /// Waits for one of this name that is being made, and removes it if nobody makes it any more.
    async fn clear_way(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        match self.whole_session_sandbox(caller, None, name).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn plan_session(
        &self,
        caller: &Caller,
        request: NewSession,
    ) -> Result<SessionPlan, Error> {
        let mut reasons = Vec::new();
        if let Some(name) = &request.name {
            session::check_name(name, &mut reasons);
        }
        let timeout_ms = timeout(request.timeout_ms, &mut reasons);
        let ports = session::check_ports(&request.ports, &mut reasons);
        session::check_tags(&request.tags, &mut reasons);
        let retention = Retention {
            expiration_ms: request
                .snapshot_expiration_ms
                .map(|ms| expiration(ms, &mut reasons)),
            keep_last: request.keep_last.map(|keep| keep.check(&mut reasons)),
        };
        let sizes = request
            .vcpus
            .and_then(|vcpus| session::check_vcpus(vcpus, &mut reasons));
        Error::check(reasons)?;
        may_keep(caller, &retention)?;
        let word = match (&request.image, &request.runtime) {
            (Some(image), _) => Some(session::image_word(image)),
            (None, runtime) => runtime.as_deref().map(session::runtime_word),
        };
        // By its id from here on, since names change hands.
        let source = match &request.snapshot {
            None => None,
            Some(asked) => {
                let found = self
                    .shared
                    .find_snapshot(&caller.organization, asked)
                    .await?;
                Some(found.map_or_else(|| asked.clone(), |found| found.id.to_string()))
            }
        };
        let (snapshot, image) = match (&source, word) {
            (Some(snapshot), _) => (Some(snapshot.clone()), None),
            (None, None) => (None, None),
            (None, Some(ImageWord::Snapshot(name))) => (Some(name.to_owned()), None),
            (None, Some(ImageWord::Reference(image))) => (None, Some(image.to_owned())),
            (None, Some(ImageWord::Like(name))) => {
                let known = self
                    .shared
                    .find_snapshot(&caller.organization, name)
                    .await?;
                (known.map(|snapshot| snapshot.name.clone()), None)
            }
        };
        let is_persistent = request.is_persistent.unwrap_or(true);
        let volumes = self
            .mount_drives(caller, &request.project, &request.drives)
            .await?;
        let terms = SessionTerms {
            project: request.project,
            is_persistent,
            timeout_ms,
            ports,
            runtime: request.runtime,
            image: request.image,
            source_snapshot: source.clone(),
            current_snapshot: source,
            retention,
            drives: request
                .drives
                .into_iter()
                .map(|(path, drive)| (path, drive.name))
                .collect(),
        };
        let now = self.shared.clock.now();
        let record = SessionRecord::first(terms, request.tags, now);
        let sandbox = NewSandbox {
            name: request.name,
            snapshot,
            image,
            env: request.env,
            target: request.region,
            auto_stop_interval: Some(0),
            auto_delete_interval: Some(kept_for(is_persistent)),
            stop_at: Some(record.ends_at()),
            network: request.network.unwrap_or_default(),
            volumes,
            ..NewSandbox::default()
        };
        Ok(SessionPlan {
            sandbox,
            record,
            sizes,
        })
    }

    pub(super) async fn size(
        &self,
        caller: &Caller,
        sandbox: &Arc<Sandbox>,
        cpu: i64,
        memory: i64,
    ) -> Result<Arc<Sandbox>, Error> {
        let now = sandbox.resources;
        if i64::from(now.cpu_cores) == cpu && i64::from(now.memory_gib) == memory {
            return Ok(Arc::clone(sandbox));
        }
        let request = ResizeRequest {
            cpu: Some(cpu),
            memory: Some(memory),
            disk: None,
        };
        self.resize_sandbox(caller, sandbox.id.as_str(), request)
            .await
    }

    /// Makes a new sandbox with a copy of this one's files, on the same terms but for what is given.
    pub async fn fork_session(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
        new_name: Option<String>,
        change: SessionChange,
    ) -> Result<Session, Error> {
        let mut reasons = Vec::new();
        if let Some(name) = &new_name {
            session::check_name(name, &mut reasons);
        }
        let source = self.whole_session_sandbox(caller, project, name).await?;
        let mut terms = source.record.terms.clone();
        let mut tags = source.record.tags.clone();
        apply(&change, &mut terms, &mut tags, &mut reasons);
        check_region(&change, &source.sandbox, &mut reasons);
        if let Some(env) = &change.env {
            bounds::check_env(env, &mut reasons);
        }
        Error::check(reasons)?;
        may_keep(caller, &terms.retention)?;
        if let Some(name) = &new_name {
            self.clear_way(caller, name).await?;
        }
        let id = SandboxId::from_uuid(uuid_v4(&*self.shared.rng));
        let (control, caller) = (self.clone(), caller.clone());
        let task = async move {
            let _turn = control.shared.session_turns.take(&id).await;
            let mut record = SessionRecord::first(terms, tags, control.shared.clock.now());
            record.is_unfinished = true;
            let source = source.sandbox.id.as_str();
            let terms = ForkTerms {
                labels: Some(record.labels()),
                env: change.env.clone(),
                is_unfinished: true,
            };
            let forked = control
                .fork_as(&caller, source, new_name, id.clone(), terms)
                .await;
            let begun = match forked {
                Ok(_) => control.begin_fork(&caller, &id, record, &change).await,
                Err(error) => Err(error),
            };
            if begun.is_err() {
                abandon(&control.shared, &id).await;
            }
            begun
        };
        self.shared.finish("making a fork", task).await
    }

    /// Sets the terms of a fork that runs.
    async fn begin_fork(
        &self,
        caller: &Caller,
        id: &SandboxId,
        mut record: SessionRecord,
        change: &SessionChange,
    ) -> Result<Session, Error> {
        self.shared.reached(Step::BeginsEmpty).await;
        self.change_rest(caller, id.as_str(), change).await?;
        self.shared.reached(Step::BeginsWhole).await;
        record.started_at = self.shared.clock.now();
        record.is_unfinished = false;
        self.write(caller, id, &record, true).await?;
        self.find_session_sandbox(caller, None, id.as_str())
    }
}
