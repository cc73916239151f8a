//! Open orders, as runners outside of the server ask for them.
//!
//! A runner that is linked gets its orders over the link. One that is not can ask for them here, a job for each, and tell
//! what became of it. Nothing of a job is kept beside the order that it is: which one was given out, and when, is in
//! memory, and one that nobody told the end of in time is given out again. What is over is in no list.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::runner::{JobsAsked, WorkAsked};
use alcove_domain::{
    Fault, FaultCode, Goal, Observation, Origin, Phase, RunnerId, Sandbox, SandboxState,
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use crate::Error;
use crate::directory::Entry;
use crate::driver::{self, Ask};
use crate::order::Heard;
use crate::shared::{Shared, lock};

/// How long a job that was given out is left to whoever has it.
const LEASE: Duration = Duration::from_mins(10);

/// Which jobs were given out, and until when they are left alone.
#[derive(Default)]
pub(crate) struct Handed {
    until: Mutex<HashMap<Uuid, Timestamp>>,
    /// Something was ordered of a runner outside of the server, or its turn has come again.
    ordered: watch::Sender<()>,
}

impl Handed {
    pub fn note_order(&self) {
        self.ordered.send_replace(());
    }
}

/// What a job is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    Create,
    Start,
    Stop,
    Destroy,
    Pause,
    Resize,
    Snapshot,
    Fork,
    Backup,
}

impl JobKind {
    /// In the API's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE_SANDBOX",
            Self::Start => "START_SANDBOX",
            Self::Stop => "STOP_SANDBOX",
            Self::Destroy => "DESTROY_SANDBOX",
            Self::Pause => "PAUSE_SANDBOX",
            Self::Resize => "RESIZE_SANDBOX",
            Self::Snapshot => "SNAPSHOT_SANDBOX",
            Self::Fork => "FORK_SANDBOX",
            Self::Backup => "CREATE_BACKUP",
        }
    }

    fn of(goal: Goal, phase: &Phase) -> Self {
        match goal {
            Goal::Running if *phase == Phase::Creating => Self::Create,
            Goal::Running => Self::Start,
            Goal::Stopped { .. } => Self::Stop,
            Goal::Absent => Self::Destroy,
            Goal::Paused => Self::Pause,
            Goal::Resized => Self::Resize,
            Goal::Captured => Self::Snapshot,
            Goal::Copied => Self::Fork,
            Goal::Archived => Self::Backup,
        }
    }
}

/// How far a job is. What is over is no job any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    Pending,
    InProgress,
}

/// How a job ended, as its runner says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    Completed {
        /// Version of the agent that answers in the sandbox, where the runner says it.
        agent_version: Option<String>,
    },
    Failed(String),
}

/// A part of the open jobs of a runner.
#[derive(Debug, Clone)]
pub struct JobsPage {
    pub jobs: Vec<Job>,
    /// Of all parts.
    pub total: u64,
    pub page: u64,
    pub total_pages: u64,
}

/// An open order.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: Uuid,
    pub kind: JobKind,
    pub status: JobStatus,
    pub sandbox: Arc<Sandbox>,
    goal: Goal,
}

impl Job {
    /// Which order it is: the sandbox, and the number that every report must carry.
    fn id_of(sandbox: &Sandbox) -> Uuid {
        let mut digest = Sha256::new();
        digest.update(sandbox.id.as_str());
        digest.update(sandbox.lifecycle.generation.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// What the order led to.
    fn observation(&self, end: &JobEnd) -> Option<Observation> {
        let failed = |message: String| Observation::Failed {
            fault: Fault::new(FaultCode::Internal, message),
            has_disk: !matches!(self.kind, JobKind::Create | JobKind::Fork),
        };
        match (end, self.goal) {
            (JobEnd::Failed(message), _) => Some(failed(message.clone())),
            (JobEnd::Completed { .. }, Goal::Running) => Some(Observation::Running),
            (JobEnd::Completed { .. }, Goal::Stopped { .. }) => {
                Some(Observation::Stopped { fault: None })
            }
            (JobEnd::Completed { .. }, Goal::Absent) => Some(Observation::Absent),
            (JobEnd::Completed { .. }, Goal::Paused) => Some(Observation::Paused),
            (JobEnd::Completed { .. }, Goal::Archived) => Some(Observation::Archived),
            // Their answers have more to say than that they are done, which only a link can.
            (JobEnd::Completed { .. }, Goal::Resized | Goal::Captured | Goal::Copied) => None,
        }
    }
}

impl Shared {
    /// Open orders for sandboxes of a runner, the oldest first.
    pub fn jobs_of(&self, runner: &RunnerId) -> Vec<Job> {
        let now = self.clock.now();
        let is_linked = self.fleet.joined.is_linked(runner);
        let mut until = lock(&self.fleet.jobs.until);
        until.retain(|_, until| *until > now);
        let mut jobs: Vec<Job> = self
            .sandboxes_on(runner)
            .filter_map(|entry| {
                let sandbox = entry.sandbox();
                let goal = sandbox.lifecycle.open_goal()?;
                let id = Job::id_of(&sandbox);
                let is_given = is_linked || until.contains_key(&id);
                Some(Job {
                    id,
                    kind: JobKind::of(goal, &sandbox.lifecycle.phase),
                    status: if is_given {
                        JobStatus::InProgress
                    } else {
                        JobStatus::Pending
                    },
                    goal,
                    sandbox,
                })
            })
            .collect();
        jobs.sort_by_key(|job| (job.sandbox.lifecycle.state_changed_at, job.id));
        jobs
    }

    /// Those of them that are told, in the order of [`Self::jobs_of`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a part that is out of bounds.
    pub fn page_jobs(
        &self,
        runner: &RunnerId,
        asked: &JobsAsked,
        is_told: impl Fn(&Job) -> bool,
    ) -> Result<JobsPage, Error> {
        let part = asked.plan().map_err(Error::refused)?;
        let mut jobs = self.jobs_of(runner);
        jobs.retain(is_told);
        let total = jobs.len() as u64;
        Ok(JobsPage {
            jobs: part.of(jobs),
            total,
            page: part.page,
            total_pages: part.pages(total),
        })
    }

    pub(super) fn sandboxes_on(&self, runner: &RunnerId) -> impl Iterator<Item = Arc<Entry>> {
        self.directory.on_runner(runner).into_iter()
    }

    /// What is on a runner: in these states, or in all where none is named.
    pub fn sandboxes_of_runner(
        &self,
        runner: &RunnerId,
        states: &[SandboxState],
        skips_changing: bool,
    ) -> Vec<Arc<Sandbox>> {
        let on_it = self.sandboxes_on(runner).map(|entry| entry.sandbox());
        let mut found: Vec<_> = on_it
            .filter(|sandbox| sandbox.is_visible())
            .filter(|sandbox| states.is_empty() || states.contains(&sandbox.state()))
            .filter(|sandbox| !skips_changing || sandbox.lifecycle.open_goal().is_none())
            .collect();
        found.sort_by_key(|sandbox| (sandbox.created_at, sandbox.id.clone()));
        found
    }

    pub fn job_of(&self, runner: &RunnerId, id: &str) -> Result<Job, Error> {
        let mut jobs = self.jobs_of(runner).into_iter();
        let id_wanted = Uuid::parse_str(id).ok();
        let found = jobs.find(|job| Some(job.id) == id_wanted);
        found.ok_or_else(|| Error::NotFound {
            message: format!("Job with ID {id} not found"),
        })
    }

    /// Gives out jobs that nobody has, at most so many, and waits for one as long as that.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than is given out, or held.
    pub async fn take_jobs(&self, runner: &RunnerId, asked: &WorkAsked) -> Result<Vec<Job>, Error> {
        let (limit, timeout) = asked.plan().map_err(Error::refused)?;
        Ok(self.wait_for_jobs(runner, limit, timeout).await)
    }

    async fn wait_for_jobs(&self, runner: &RunnerId, limit: usize, timeout: Duration) -> Vec<Job> {
        let time_up = self.clock.sleep(timeout);
        tokio::pin!(time_up);
        let mut ordered = self.fleet.jobs.ordered.subscribe();
        loop {
            ordered.borrow_and_update();
            let mut jobs = self.jobs_of(runner);
            jobs.retain(|job| job.status == JobStatus::Pending);
            jobs.truncate(limit);
            if !jobs.is_empty() {
                let now = self.clock.now();
                let lease = now.saturating_add(LEASE).unwrap_or(now);
                let mut until = lock(&self.fleet.jobs.until);
                for job in &mut jobs {
                    until.insert(job.id, lease);
                    job.status = JobStatus::InProgress;
                }
                return jobs;
            }
            tokio::select! {
                () = &mut time_up => return jobs,
                () = self.cancelled() => return jobs,
                () = self.runner_gone(runner) => return jobs,
                // The sender lives in `self`.
                changed = ordered.changed() => if changed.is_err() { return jobs },
            }
        }
    }

    /// Takes what a runner says of a job: that it is under way, with None, or how it ended.
    ///
    /// # Errors
    /// [`Error::Conflict`] for one that the runner has over its link, and for an end that says less than is needed.
    pub async fn end_job(
        self: &Arc<Self>,
        runner: &RunnerId,
        id: &str,
        end: Option<JobEnd>,
    ) -> Result<Job, Error> {
        let mut job = self.job_of(runner, id)?;
        let refused = |message: &str| Error::conflict("JOB_STATUS_REFUSED", message.to_owned());
        if self.fleet.joined.is_linked(runner) {
            return Err(refused(
                "The runner has this job over its link, and answers it there",
            ));
        }
        let now = self.clock.now();
        let Some(end) = end else {
            let lease = now.saturating_add(LEASE).unwrap_or(now);
            lock(&self.fleet.jobs.until).insert(job.id, lease);
            job.status = JobStatus::InProgress;
            return Ok(job);
        };
        let observation = job
            .observation(&end)
            .ok_or_else(|| refused("The end of this job is answered over a link only"))?;
        let entry = self.directory.get(&job.sandbox.id);
        let entry = entry.ok_or_else(|| refused("The job is over"))?;
        let seen = Ask::Seen {
            origin: Origin::Answer,
            generation: job.sandbox.lifecycle.generation,
            observation,
            heard: Heard {
                agent_version: match end {
                    JobEnd::Completed { agent_version } => agent_version,
                    JobEnd::Failed(_) => None,
                },
                ..Heard::default()
            },
            if_version: Some(job.sandbox.version),
        };
        let mut watch = entry.watch();
        driver::ask(self, &entry, seen).await;
        // Until it is taken the job is there still, and whoever is answered must not find it.
        let time_up = self.clock.sleep(self.settings.settle_wait);
        tokio::pin!(time_up);
        while watch.borrow_and_update().version == job.sandbox.version {
            tokio::select! {
                changed = watch.changed() => if changed.is_err() { break },
                () = &mut time_up => break,
            }
        }
        Ok(job)
    }

    /// Takes what a runner says that one of its sandboxes is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not on it, [`Error::Invalid`] for a state that no runner can see.
    pub async fn note_sandbox_state(
        self: &Arc<Self>,
        runner: &RunnerId,
        sandbox: &str,
        state: SandboxState,
        reason: Option<String>,
        has_disk: bool,
    ) -> Result<(), Error> {
        let mut on_it = self.sandboxes_on(runner);
        let entry = on_it.find(|entry| entry.id.as_str() == sandbox);
        let entry = entry.ok_or_else(|| Error::NotFound {
            message: format!("Sandbox with ID {sandbox} not found"),
        })?;
        let fault = reason.map(|reason| Fault::new(FaultCode::Internal, reason));
        let observation = match state {
            SandboxState::Started => Observation::Running,
            SandboxState::Stopped => Observation::Stopped { fault },
            SandboxState::Paused => Observation::Paused,
            SandboxState::Archived => Observation::Archived,
            SandboxState::Destroyed => Observation::Absent,
            SandboxState::Error => Observation::Failed {
                fault: fault.unwrap_or_else(|| {
                    Fault::new(FaultCode::Internal, "the runner does not say why")
                }),
                has_disk,
            },
            other => {
                return Err(Error::refused(vec![alcove_domain::Reason::invalid(
                    format!("a runner cannot say that a sandbox is {}", other.as_str()),
                )]));
            }
        };
        let seen = Ask::Seen {
            origin: Origin::Stream,
            generation: entry.sandbox().lifecycle.generation,
            observation,
            heard: Heard::default(),
            if_version: None,
        };
        driver::ask(self, &entry, seen).await;
        Ok(())
    }
}
