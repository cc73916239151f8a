//! All language servers of the sandbox.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::spawn_blocking;

use crate::agent::Agent;
use crate::lsp::server::Server;
use crate::lsp::{Language, LspError, place};

/// Most servers at a time. Each is a program of some 100 MiB.
const MAX_SERVERS: usize = 64;

type Key = (Language, PathBuf);

/// The servers that were started and not stopped, by language and project.
#[derive(Debug, Default)]
pub struct LanguageServers {
    by_key: Mutex<HashMap<Key, Arc<Server>>>,
}

impl LanguageServers {
    /// Starts a server, or does nothing if it runs.
    ///
    /// # Errors
    /// The request makes no sense, or the server does not start.
    pub async fn start(
        &self,
        agent: &Agent,
        language: &str,
        project: &str,
    ) -> Result<(), LspError> {
        let key = key(agent, language, project)?;
        let folder = key.1.clone();
        if !matches!(spawn_blocking(move || folder.is_dir()).await, Ok(true)) {
            return Err(LspError::NotAFolder(key.1.display().to_string()));
        }
        let server = self.get_or_add(key)?;
        server.start(agent).await.map_err(|error| match error {
            LspError::NotStarted => LspError::Start("it was stopped meanwhile".to_owned()),
            error => error,
        })
    }

    fn get_or_add(&self, key: Key) -> Result<Arc<Server>, LspError> {
        let mut by_key = self.lock();
        // Those that did not start, and that nobody tries to start now.
        by_key.retain(|_, server| server.has_started() || Arc::strong_count(server) > 1);
        let is_full = by_key.len() >= MAX_SERVERS;
        match by_key.entry(key) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(_) if is_full => Err(LspError::TooManyServers),
            Entry::Vacant(entry) => {
                let (language, project) = entry.key().clone();
                Ok(entry
                    .insert(Arc::new(Server::new(language, project)))
                    .clone())
            }
        }
    }

    /// Takes a server away and ends it.
    ///
    /// # Errors
    /// There is none.
    pub async fn stop(&self, agent: &Agent, language: &str, project: &str) -> Result<(), LspError> {
        let key = key(agent, language, project)?;
        let server = self.lock().remove(&key).ok_or(LspError::NotStarted)?;
        if !server.has_started() && Arc::strong_count(&server) == 1 {
            return Err(LspError::NotStarted);
        }
        server.stop().await;
        Ok(())
    }

    /// A server that was started.
    ///
    /// # Errors
    /// There is none.
    pub fn get(
        &self,
        agent: &Agent,
        language: &str,
        project: &str,
    ) -> Result<Arc<Server>, LspError> {
        let key = key(agent, language, project)?;
        let server = self.lock().get(&key).cloned();
        server
            .filter(|server| server.has_started())
            .ok_or(LspError::NotStarted)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Server>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(agent: &Agent, language: &str, project: &str) -> Result<Key, LspError> {
    let known =
        Language::parse(language).ok_or_else(|| LspError::UnknownLanguage(language.to_owned()))?;
    let project = project.strip_prefix("file://").unwrap_or(project);
    Ok((known, place::normal(&agent.home.resolve(project))))
}
