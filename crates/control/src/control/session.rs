//! Sandboxes with sessions.

use std::sync::Arc;

use alcove_domain::session::{self, SessionId, SessionRecord};
use alcove_domain::{
    Lineage, NetworkSettings, Permission, Port, SandboxId, SandboxState, Snapshot, bounds,
};

use super::Control;
use crate::driver::{self, Change, OutfitChange, SnapshotBirth, Wish};
use crate::probe::Step;
use crate::sandboxes::{self, Until};
use crate::sessions::{
    Session, SessionChange, abandon, apply, check_region, kept_for, may_keep, no_snapshot, stopped,
};
use crate::snapshots::retention;
use crate::{Caller, Error, SignedLabel};

impl Control {
    /// A sandbox of the caller's by its name, in a project or in any.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for one of another project.
    pub fn find_session_sandbox(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
    ) -> Result<Session, Error> {
        let entry = sandboxes::find(&self.shared, caller, name)?;
        let session = Session::of(entry.current());
        if session.record.is_in(project) {
            return Ok(session);
        }
        Err(Error::NotFound {
            message: format!("Sandbox {name} not found"),
        })
    }

    /// The same with all that it begins with: where it is being made at this moment, the call waits for that, as long as
    /// calls do. What nobody makes any more goes.
    pub async fn whole_session_sandbox(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
    ) -> Result<Session, Error> {
        let found = self.find_session_sandbox(caller, project, name)?;
        if !found.record.is_unfinished {
            return Ok(found);
        }
        let shared = &self.shared;
        let id = &found.sandbox.id;
        let _turn = tokio::select! {
            turn = shared.session_turns.take(id) => turn,
            () = shared.clock.sleep(shared.settings.settle_wait) => return Ok(found),
        };
        let left = self.find_session_sandbox(caller, project, id.as_str())?;
        if left.record.is_unfinished {
            abandon(shared, id).await;
            return self.find_session_sandbox(caller, project, id.as_str());
        }
        Ok(left)
    }

    /// The same with a session that runs, and whether that has begun now. Callers at the same time get the same one.
    pub async fn resume_session(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
    ) -> Result<(Session, bool), Error> {
        let found = self.whole_session_sandbox(caller, project, name).await?;
        if found.sandbox.state() == SandboxState::Started {
            return Ok((found, false));
        }
        caller.require(Permission::WriteSandboxes)?;
        let shared = Arc::clone(&self.shared);
        let id = found.sandbox.id.clone();
        let (control, caller) = (self.clone(), caller.clone());
        // A caller that goes away must not leave a session without its end.
        let task = async move { control.begin(&caller, &id).await };
        let (session, resumed) = shared.finish("starting a session", task).await?;
        self.events_told().await;
        Ok((session, resumed))
    }

    async fn begin(&self, caller: &Caller, id: &SandboxId) -> Result<(Session, bool), Error> {
        let shared = &self.shared;
        let _turn = shared.session_turns.take(id).await;
        let entry = sandboxes::find(shared, caller, id.as_str())?;
        // What is under way comes to its end first.
        let state = entry.sandbox().state();
        let session = match session::status(state, true) {
            "stopping" | "snapshotting" | "pending" => {
                sandboxes::wait(shared, &entry, Until::Leaves(state)).await?;
                Session::of(entry.current())
            }
            _ => Session::of(entry.current()),
        };
        if session.sandbox.state() == SandboxState::Started {
            return Ok((session, false));
        }
        if !session.record.terms.is_persistent {
            return Err(no_snapshot());
        }
        // With the wish it has its end: whatever is cut short from here on, nothing runs without one.
        let before = session.record.number;
        sandboxes::wish(shared, &entry, Wish::Session).await?;
        let started = sandboxes::wait(shared, &entry, Until::Started).await?;
        let mut record = SessionRecord::of(&started);
        if record.number == before {
            // Somebody else was faster, and has begun this one.
            return Ok((Session::of(started), false));
        }
        if started.state() == SandboxState::Started {
            shared.reached(Step::RunsAgain).await;
            // Its time begins when it can be used.
            record.started_at = shared.clock.now();
            self.write(caller, &entry.id, &record, true).await?;
        }
        Ok((Session::of(entry.current()), true))
    }

    /// Writes what a record says, and with `is_running` when its session ends.
    pub(super) async fn write(
        &self,
        caller: &Caller,
        id: &SandboxId,
        record: &SessionRecord,
        is_running: bool,
    ) -> Result<(), Error> {
        self.write_with(caller, id, record, is_running, OutfitChange::default())
            .await
    }

    /// The same, and in one transaction with it what the sessions to come are made with.
    async fn write_with(
        &self,
        caller: &Caller,
        id: &SandboxId,
        record: &SessionRecord,
        is_running: bool,
        outfit: OutfitChange,
    ) -> Result<(), Error> {
        let labels = record.labels();
        let mut reasons = Vec::new();
        bounds::check_labels(&labels, &mut reasons);
        Error::check(reasons)?;
        let change = Change::Session(driver::SessionChange {
            labels,
            stop_at: is_running.then(|| record.ends_at()),
            is_unfinished: record.is_unfinished,
            outfit,
        });
        sandboxes::change(&self.shared, caller, id.as_str(), change).await?;
        Ok(())
    }

    /// The session of this id while it runs or is the last one of its sandbox. The id or name of a sandbox stands for its
    /// last session.
    ///
    /// # Errors
    /// `SANDBOX_STOPPED` for one that another has followed.
    pub fn find_session(&self, caller: &Caller, session: &str) -> Result<Session, Error> {
        let Some(id) = SessionId::parse(session) else {
            return self.find_session_sandbox(caller, None, session);
        };
        let found = self.find_session_sandbox(caller, None, id.sandbox.as_str())?;
        if found.record.number == id.number {
            return Ok(found);
        }
        if id.number > found.record.number {
            return Err(Error::NotFound {
                message: format!("Session {session} not found"),
            });
        }
        Err(stopped("This session is over; another has followed it"))
    }

    /// Ends a session and waits for it. One that is over stays so.
    pub async fn stop_session(&self, caller: &Caller, session: &str) -> Result<Session, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let found = self.find_session(caller, session)?;
        let id = found.sandbox.id.clone();
        let _turn = self.shared.session_turns.take(&id).await;
        self.stop_in_turn(caller, &id).await
    }

    async fn stop_in_turn(&self, caller: &Caller, id: &SandboxId) -> Result<Session, Error> {
        let found = self.find_session_sandbox(caller, None, id.as_str())?;
        let state = found.sandbox.state();
        if session::status(state, true) == "stopping" {
            let entry = sandboxes::find(&self.shared, caller, id.as_str())?;
            sandboxes::wait(&self.shared, &entry, Until::Stopped).await?;
        } else if session::status(state, true) != "stopped" {
            self.stop_sandbox(caller, id.as_str(), false).await?;
        }
        let mut ended = self.find_session_sandbox(caller, None, id.as_str())?;
        // One that no client of sessions has made or started.
        if ended.record.stopped_at.is_none() {
            ended.record.stopped_at = Some(self.shared.clock.now());
            self.write(caller, id, &ended.record, false).await?;
        }
        self.find_session_sandbox(caller, None, id.as_str())
    }

    /// Lets a session that runs last so much longer.
    pub async fn extend_session(
        &self,
        caller: &Caller,
        session: &str,
        ms: i64,
    ) -> Result<Session, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let mut reasons = Vec::new();
        let ms = session::check_timeout("duration", ms, 1, &mut reasons);
        Error::check(reasons)?;
        let id = self.running_session(caller, session)?.sandbox.id.clone();
        let _turn = self.shared.session_turns.take(&id).await;
        let mut found = self.running_session(caller, session)?;
        let longer = found.record.lasts_ms.saturating_add(ms);
        let mut reasons = Vec::new();
        let longer = i64::try_from(longer).unwrap_or(i64::MAX);
        found.record.lasts_ms =
            session::check_timeout("timeout", longer, session::TIMEOUT_MIN_MS, &mut reasons);
        Error::check(reasons)?;
        self.write(caller, &id, &found.record, true).await?;
        self.find_session(caller, session)
    }

    /// The sandbox of a session, to do something in it. Whether it runs is for its agent to say.
    ///
    /// # Errors
    /// `SANDBOX_STOPPED` also while it has not all that it begins with.
    pub fn session_sandbox(&self, caller: &Caller, session: &str) -> Result<SandboxId, Error> {
        let found = self.find_session(caller, session)?;
        if found.record.is_unfinished {
            return Err(stopped("This session does not run yet"));
        }
        Ok(found.sandbox.id.clone())
    }

    fn running_session(&self, caller: &Caller, session: &str) -> Result<Session, Error> {
        let found = self.find_session(caller, session)?;
        sandboxes::running(&found.sandbox)?;
        if found.record.is_unfinished {
            return Err(stopped("This session does not run yet"));
        }
        Ok(found)
    }

    /// Lets whoever shows the label open a terminal in a session that runs, for a minute.
    pub fn open_interactive(&self, caller: &Caller, session: &str) -> Result<SignedLabel, Error> {
        let found = self.running_session(caller, session)?;
        let port = Port::new(Port::TERMINAL).ok_or(Error::Internal {
            doing: "naming the port of the terminal",
            cause: None,
        })?;
        let id = found.sandbox.id.as_str();
        self.sign_preview(caller, id, port, Some(session::INTERACTIVE_SECONDS))
    }

    /// Gives the sandbox of a session another network policy, at once.
    pub async fn set_session_network(
        &self,
        caller: &Caller,
        session: &str,
        settings: NetworkSettings,
    ) -> Result<Session, Error> {
        let found = self.find_session(caller, session)?;
        let changed = self
            .set_network(caller, found.sandbox.id.as_str(), settings)
            .await?;
        Ok(Session::of(changed))
    }

    /// Makes a snapshot of a session's files and ends the session. It is kept for so many milliseconds, or as long as the
    /// sandbox's snapshots are; older ones go, if the sandbox keeps only the newest.
    pub async fn snapshot_session(
        &self,
        caller: &Caller,
        session: &str,
        expiration_ms: Option<i64>,
    ) -> Result<(Snapshot, Session), Error> {
        let mut reasons = Vec::new();
        let asked_ms =
            expiration_ms.map(|ms| session::check_expiration("expiration", ms, &mut reasons));
        Error::check(reasons)?;
        let id = self.running_session(caller, session)?.sandbox.id.clone();
        let _turn = self.shared.session_turns.take(&id).await;
        let mut found = self.running_session(caller, session)?;
        let now = self.shared.clock.now();
        let name = format!("{}-{}", found.sandbox.name, now.as_millisecond());
        let terms = &found.record.terms;
        let retention = terms.retention;
        let parent = terms.current_snapshot.as_deref();
        let birth = SnapshotBirth {
            expires_at: retention.expires_at(asked_ms, now),
            lineage: Some(Lineage {
                parent: parent.and_then(|parent| parent.parse().ok()),
                session: found.id().to_string(),
                project: terms.project.clone(),
            }),
        };
        self.make_snapshot(caller, id.as_str(), name.clone(), birth)
            .await?;
        let snapshot = self.get_snapshot(caller, &name).await?;
        found.record.terms.current_snapshot = Some(snapshot.id.to_string());
        self.write(caller, &id, &found.record, false).await?;
        retention::evict(&self.shared, &caller.organization, &id, &retention).await;
        let ended = self.stop_in_turn(caller, &id).await?;
        Ok((snapshot, ended))
    }

    /// Changes the terms of a sandbox. A session that runs keeps its end and its variables; a network policy and sizes are
    /// changed at once.
    ///
    /// # Errors
    /// Drives that are not mounted already are refused while it runs.
    pub async fn update_session(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
        change: SessionChange,
    ) -> Result<Session, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let id = self
            .find_session_sandbox(caller, project, name)?
            .sandbox
            .id
            .clone();
        let _turn = self.shared.session_turns.take(&id).await;
        let mut found = self.find_session_sandbox(caller, project, id.as_str())?;
        let mut reasons = Vec::new();
        let record = &mut found.record;
        apply(&change, &mut record.terms, &mut record.tags, &mut reasons);
        check_region(&change, &found.sandbox, &mut reasons);
        if let Some(env) = &change.env {
            bounds::check_env(env, &mut reasons);
        }
        Error::check(reasons)?;
        if change.keep_last.is_some() {
            may_keep(caller, &record.terms.retention)?;
        }
        let outfit = self
            .outfit(caller, &found.record.terms.project, &change)
            .await?;
        self.write_with(caller, &id, &found.record, false, outfit)
            .await?;
        self.change_rest(caller, id.as_str(), &change).await?;
        self.find_session_sandbox(caller, None, id.as_str())
    }

    /// What the sessions to come are made with, where that changes.
    async fn outfit(
        &self,
        caller: &Caller,
        project: &str,
        change: &SessionChange,
    ) -> Result<OutfitChange, Error> {
        let volumes = match &change.drives {
            None => None,
            Some(drives) => Some(self.resolve_drives(caller, project, drives).await?),
        };
        Ok(OutfitChange {
            env: change.env.clone(),
            volumes,
        })
    }

    pub(super) async fn change_rest(
        &self,
        caller: &Caller,
        id: &str,
        change: &SessionChange,
    ) -> Result<(), Error> {
        if let Some(is_persistent) = change.is_persistent {
            self.set_auto_delete(caller, id, kept_for(is_persistent))
                .await?;
        }
        if let Some(network) = &change.network {
            self.set_network(caller, id, network.clone()).await?;
        }
        if let Some(vcpus) = change.vcpus {
            let mut reasons = Vec::new();
            let sizes = session::check_vcpus(vcpus, &mut reasons);
            Error::check(reasons)?;
            if let Some((cpu, memory)) = sizes {
                let sandbox = self.get_sandbox(caller, id).await?;
                self.size(caller, &sandbox, cpu, memory).await?;
            }
        }
        Ok(())
    }

    /// Deletes a sandbox, whatever it does; gives what it was. With `with_snapshots`, those that were made of its sessions
    /// go with it, but for what another sandbox began with or has as its own.
    pub async fn delete_session_sandbox(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
        with_snapshots: bool,
    ) -> Result<Session, Error> {
        if with_snapshots {
            caller.require(Permission::DeleteSnapshots)?;
        }
        let found = self.find_session_sandbox(caller, project, name)?;
        let gone = self
            .delete_sandbox(caller, found.sandbox.id.as_str())
            .await?;
        if with_snapshots {
            retention::delete_orphans(&self.shared, &caller.organization, &gone.id).await?;
        }
        Ok(Session {
            sandbox: gone,
            record: found.record,
        })
    }
}
