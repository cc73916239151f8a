//! Sandboxes with sessions as they begin: new ones, and forks.

use std::sync::Arc;

use alcove_domain::session::{self, ImageWord, Retention, SessionRecord, SessionTerms};
use alcove_domain::{NewSandbox, Permission, ResizeRequest, Sandbox, SandboxState};
use alcove_runner_api::Fetch;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::Control;
use crate::sessions::{
    NewSession, Session, SessionChange, SourcePieces, apply, expiration, kept_for, may_keep,
    not_fetched, timeout,
};
use crate::{Caller, Error};

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

    /// Makes a sandbox with its first session, which runs when this answers.
    pub async fn create_session(
        &self,
        caller: &Caller,
        request: NewSession,
    ) -> Result<Session, Error> {
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
            drives: request.drives,
        };
        let now = self.shared.clock.now();
        let record = SessionRecord::first(terms, request.tags, now);
        let made = self
            .create_sandbox(
                caller,
                NewSandbox {
                    name: request.name,
                    snapshot,
                    image,
                    env: request.env,
                    labels: record.labels(),
                    target: request.region,
                    auto_stop_interval: Some(0),
                    auto_delete_interval: Some(kept_for(is_persistent)),
                    stop_at: Some(record.ends_at()),
                    network: request.network.unwrap_or_default(),
                    volumes,
                    ..NewSandbox::default()
                },
            )
            .await?;
        if made.state() != SandboxState::Started {
            return Err(Error::Unavailable {
                message: "The sandbox did not start in time",
                retry_after: None,
                cause: None,
            });
        }
        let Some((cpu, memory)) = sizes else {
            return Ok(Session::of(made));
        };
        match self.size(caller, &made, cpu, memory).await {
            Ok(sandbox) => Ok(Session::of(sandbox)),
            Err(error) => {
                // Nothing half-made may hold the name.
                let gone = self.delete_sandbox(caller, made.id.as_str()).await;
                if let Err(gone) = gone {
                    tracing::warn!(sandbox.id = %made.id, error = %gone, "a sandbox of the wrong size is left");
                }
                Err(error)
            }
        }
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
        let source = self.find_session_sandbox(caller, project, name)?;
        let mut terms = source.record.terms.clone();
        let mut tags = source.record.tags.clone();
        apply(&change, &mut terms, &mut tags, &mut reasons);
        Error::check(reasons)?;
        may_keep(caller, &terms.retention)?;
        let forked = self
            .fork_sandbox(caller, source.sandbox.id.as_str(), new_name)
            .await?;
        let record = SessionRecord::first(terms, tags, self.shared.clock.now());
        self.write(caller, &forked.id, &record, true).await?;
        let id = forked.id.as_str();
        self.change_rest(caller, id, &change).await?;
        self.find_session_sandbox(caller, None, id)
    }
}
