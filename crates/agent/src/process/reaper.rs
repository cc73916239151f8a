//! The table of our children, and the only place that reaps.
//!
//! As process 1 (or as a subreaper) the agent inherits every orphan of the sandbox. A reaper that takes "any
//! child" would race with whoever waits for one of them, and exit codes would get lost. Here one loop looks
//! at who has exited without reaping, hands the status to the owner when the table knows the child, and drops it
//! when it is an orphan. Start and note-down happen under the same lock as the look, so no child can exit
//! unnoticed in between, and an entry leaves the table before its number can be given to someone else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::process::job::JobTag;
use crate::process::spawn::Program;
use crate::sys::{
    ExitStatus, SpawnFailure, VforkStack, peek_exited_child, reap_child, signals_with_an_action,
};

/// Children reaped between two looks at other work, so that a storm of orphans does not hold up requests.
const REAP_BATCH: usize = 128;

/// A running or ended child. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub tag: JobTag,
    exit: oneshot::Receiver<ExitStatus>,
}

impl Child {
    /// Waits for the exit. Safe to drop and call again.
    pub async fn exited(&mut self) -> ExitStatus {
        // The sender goes away without a word only when the table does, that is, when the agent ends.
        (&mut self.exit).await.unwrap_or(ExitStatus::Signal(9))
    }

    /// The status, if the child has exited.
    pub fn try_exited(&mut self) -> Option<ExitStatus> {
        self.exit.try_recv().ok()
    }
}

/// All children that have an owner.
#[derive(Debug)]
pub struct Children {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    owners: HashMap<i32, oneshot::Sender<ExitStatus>>,
    stack: VforkStack,
    oom_score: OomScore,
    /// Soft limit of descriptors that we were started with.
    descriptor_limit: u64,
    /// What children must put back to its default. Looked up at the first of them: from its start on the agent changes no
    /// signal any more.
    signals: Option<Vec<i32>>,
}

impl Children {
    /// Children get the limit of descriptors that holds now, whatever the agent makes of its own later.
    pub fn new() -> Arc<Self> {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Arc::new(Self {
            table: Mutex::new(Table {
                owners: HashMap::new(),
                stack: VforkStack::new(),
                oom_score: OomScore::open(),
                descriptor_limit: descriptors.current.unwrap_or(u64::MAX),
                signals: None,
            }),
        })
    }

    /// Starts a program and notes it down.
    ///
    /// # Errors
    /// The step of the start that failed.
    pub fn spawn(&self, program: &Program<'_>) -> Result<Child, SpawnFailure> {
        let (sender, exit) = oneshot::channel();
        let mut guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *guard;
        table.oom_score.raise();
        let signals = table.signals.get_or_insert_with(signals_with_an_action);
        let started = program.start(&mut table.stack, table.descriptor_limit, signals);
        table.oom_score.restore();
        let pid = started?;
        table.owners.insert(pid, sender);
        Ok(Child {
            pid,
            tag: program.tag,
            exit,
        })
    }

    /// Reaps until nobody is left, for ever. `has_exits` resolves after each SIGCHLD.
    pub async fn reap(self: Arc<Self>, mut sigchld: tokio::signal::unix::Signal) {
        loop {
            while self.reap_batch() {
                tokio::task::yield_now().await;
            }
            if sigchld.recv().await.is_none() {
                return;
            }
        }
    }

    /// Whether there may be more.
    fn reap_batch(&self) -> bool {
        for _ in 0..REAP_BATCH {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(pid) = peek_exited_child() else {
                return false;
            };
            let owner = table.owners.remove(&pid);
            let status = reap_child(pid);
            if let (Some(owner), Some(status)) = (owner, status) {
                // The owner may have lost interest.
                let _ = owner.send(status);
            }
        }
        true
    }
}

/// The score by which the kernel picks a victim when memory runs out.
///
/// Children must be picked before the agent. They cannot raise their own score on the way to exec, because
/// the files below `/proc` of a process that may not be traced belong to root; so the agent raises its own
/// for the moment of the clone, which copies it, and takes it back. Lowering is allowed down to the score it
/// started with.
#[derive(Debug)]
struct OomScore {
    file: Option<std::fs::File>,
    own: String,
}

impl OomScore {
    const OF_CHILDREN: i32 = 300;

    fn open() -> Self {
        let path = "/proc/self/oom_score_adj";
        let own = std::fs::read_to_string(path).unwrap_or_default();
        let own = own.trim().to_owned();
        let is_lower = own
            .parse::<i32>()
            .is_ok_and(|score| score < Self::OF_CHILDREN);
        let file = if is_lower {
            std::fs::OpenOptions::new().write(true).open(path).ok()
        } else {
            None
        };
        Self { file, own }
    }

    fn raise(&self) {
        self.write(&Self::OF_CHILDREN.to_string());
    }

    fn restore(&self) {
        self.write(&self.own);
    }

    fn write(&self, score: &str) {
        if let Some(file) = &self.file {
            // A sandbox without the file works, only with a worse choice of victim.
            let _ = rustix::io::pwrite(file, score.as_bytes(), 0);
        }
    }
}
