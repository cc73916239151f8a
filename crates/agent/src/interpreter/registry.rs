//! All interpreter contexts of the sandbox.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alcove_agent_api as api;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::agent::Agent;
use crate::interpreter::driver;
use crate::interpreter::execution::{Execution, ExecutionTerms, Job, execution};
use crate::interpreter::language::Language;
use crate::interpreter::worker::{StartError, Worker};

/// Most contexts at a time. Each is a process of some 10 MiB at least.
const MAX_CONTEXTS: usize = 256;

/// Executions that may wait in one context.
const QUEUE_LENGTH: usize = 128;

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("context not found")]
    NotFound,
    #[error("the default context cannot be deleted")]
    IsDefault,
    #[error("too many contexts at a time")]
    TooMany,
    #[error("too many executions wait in this context")]
    QueueFull,
    #[error(transparent)]
    Start(#[from] StartError),
}

/// One context. It lives until it is deleted, whatever becomes of its process.
#[derive(Debug)]
pub struct Context {
    pub id: String,
    pub language: Language,
    pub cwd: PathBuf,
    created_at: String,
    queue: mpsc::Sender<Job>,
    is_deleted: watch::Sender<bool>,
    is_gone: watch::Receiver<bool>,
}

impl Context {
    pub fn describe(&self) -> api::InterpreterContext {
        api::InterpreterContext {
            id: self.id.clone(),
            cwd: self.cwd.to_string_lossy().into_owned(),
            language: self.language.name().to_owned(),
            active: !*self.is_deleted.borrow(),
            created_at: self.created_at.clone(),
        }
    }

    /// Resolves when the context is deleted.
    pub async fn deleted(&self) {
        let mut is_deleted = self.is_deleted.subscribe();
        // The sender lives in `self`.
        let _ = is_deleted.wait_for(|is_deleted| *is_deleted).await;
    }

    /// Ends the context and waits until its processes are gone.
    async fn delete(&self) {
        self.is_deleted.send_replace(true);
        let _ = self.is_gone.clone().wait_for(|is_gone| *is_gone).await;
    }
}

/// The contexts by their ids.
#[derive(Debug, Default)]
pub struct Contexts {
    by_id: Mutex<HashMap<String, Arc<Context>>>,
}

impl Contexts {
    /// Makes a context and starts its process. The working folder is relative to the work dir.
    ///
    /// # Errors
    /// There are too many, or the process does not start.
    pub fn create(
        &self,
        agent: &Arc<Agent>,
        language: Language,
        cwd: &str,
    ) -> Result<Arc<Context>, ContextError> {
        let mut by_id = self.lock();
        if by_id.len() >= MAX_CONTEXTS {
            return Err(ContextError::TooMany);
        }
        let id = Uuid::new_v4().to_string();
        let context = start(agent, &id, language, cwd)?;
        by_id.insert(id, context.clone());
        Ok(context)
    }

    /// All but the default one, oldest first.
    pub fn list(&self) -> Vec<api::InterpreterContext> {
        let by_id = self.lock();
        let listed = by_id
            .values()
            .filter(|context| context.id != api::DEFAULT_CONTEXT);
        let mut all: Vec<_> = listed.map(|context| context.describe()).collect();
        drop(by_id);
        all.sort_by(|one, other| (&one.created_at, &one.id).cmp(&(&other.created_at, &other.id)));
        all
    }

    /// Puts code into the queue of a context. The default context is made where it is missing.
    ///
    /// # Errors
    /// There is no such context, its queue is full, or the default one does not start.
    pub fn execute(
        &self,
        agent: &Arc<Agent>,
        id: &str,
        code: String,
        terms: ExecutionTerms,
    ) -> Result<Execution, ContextError> {
        let context = self.get(agent, id)?;
        let (job, execution) = execution(code, terms);
        match context.queue.try_send(job) {
            Ok(()) => Ok(execution),
            Err(TrySendError::Full(_)) => Err(ContextError::QueueFull),
            // Deleted in this moment.
            Err(TrySendError::Closed(_)) => Err(ContextError::NotFound),
        }
    }

    fn get(&self, agent: &Arc<Agent>, id: &str) -> Result<Arc<Context>, ContextError> {
        let mut by_id = self.lock();
        if let Some(context) = by_id.get(id) {
            return Ok(context.clone());
        }
        if id != api::DEFAULT_CONTEXT {
            return Err(ContextError::NotFound);
        }
        let context = start(agent, id, Language::Python, "")?;
        by_id.insert(id.to_owned(), context.clone());
        Ok(context)
    }

    /// Deletes a context; running and waiting executions end.
    ///
    /// # Errors
    /// There is no such context, or it is the default one.
    pub async fn delete(&self, id: &str) -> Result<(), ContextError> {
        if id == api::DEFAULT_CONTEXT {
            return Err(ContextError::IsDefault);
        }
        let context = self.lock().remove(id).ok_or(ContextError::NotFound)?;
        context.delete().await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Context>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tells people when; nothing is decided by it"
)]
fn start(
    agent: &Arc<Agent>,
    id: &str,
    language: Language,
    cwd: &str,
) -> Result<Arc<Context>, StartError> {
    let cwd = agent.home.resolve(cwd);
    let worker = Worker::start(agent, language, &cwd)?;
    let (queue, waiting) = mpsc::channel(QUEUE_LENGTH);
    let (gone, is_gone) = watch::channel(false);
    let context = Arc::new(Context {
        id: id.to_owned(),
        language,
        cwd,
        created_at: jiff::Timestamp::now().to_string(),
        queue,
        is_deleted: watch::Sender::new(false),
        is_gone,
    });
    tokio::spawn(driver::drive(
        agent.clone(),
        context.clone(),
        Some(worker),
        waiting,
        gone,
    ));
    Ok(context)
}
