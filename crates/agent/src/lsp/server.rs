//! One language server as a client sees it.
//!
//! Its process may die and is started again by the next call; documents that were open are opened again then, as
//! they are on the disk at that time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alcove_agent_api::{CompletionContext, CompletionList, LspPosition, LspSymbol};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;

use crate::agent::Agent;
use crate::lsp::answer::{AnyCompletions, AnySymbol, flat};
use crate::lsp::link::Link;
use crate::lsp::process::Process;
use crate::lsp::{Language, LspError, place};

/// From the start of the program to its first answer.
const START_LIMIT: Duration = Duration::from_mins(1);

/// For one call, a new start not counted. Some servers read the whole project before their first answer: where many of them start
/// at once on a small host, that takes more than half a minute.
const CALL_LIMIT: Duration = Duration::from_mins(1);

/// Calls that one server works on at a time; others wait.
const MAX_CALLS: usize = 32;

/// Documents that may be open at a time.
const MAX_DOCUMENTS: usize = 1024;

/// `CompletionTriggerKind` of who just asked.
const INVOKED: u32 = 1;

/// A server for one language and one project.
#[derive(Debug)]
pub struct Server {
    language: Language,
    project: PathBuf,
    process: Mutex<Option<Arc<Process>>>,
    /// Versions of the open documents. Held while a change is on its way, so that versions go in order.
    documents: Mutex<BTreeMap<PathBuf, i64>>,
    calls: Semaphore,
    is_stopped: watch::Sender<bool>,
    has_started: AtomicBool,
}

impl Server {
    pub fn new(language: Language, project: PathBuf) -> Self {
        Self {
            language,
            project,
            process: Mutex::default(),
            documents: Mutex::default(),
            calls: Semaphore::new(MAX_CALLS),
            is_stopped: watch::Sender::new(false),
            has_started: AtomicBool::new(false),
        }
    }

    /// Whether it has ever run.
    pub fn has_started(&self) -> bool {
        self.has_started.load(Ordering::Relaxed)
    }

    /// Starts the process unless it runs. Who drops this while it starts ends it again.
    ///
    /// # Errors
    /// It does not start, or not in time.
    pub async fn start(&self, agent: &Agent) -> Result<(), LspError> {
        self.running(agent).await.map(|_| ())
    }

    /// Ends the process, and lets nobody start it again.
    pub async fn stop(&self) {
        self.is_stopped.send_replace(true);
        let process = self.process.lock().await.take();
        if let Some(process) = process {
            process.stop().await;
        }
    }

    /// Tells the server of a document, or of its new content when it knows it already.
    ///
    /// # Errors
    /// The document cannot be read, or the server ended.
    pub async fn open(&self, agent: &Agent, uri: &str) -> Result<(), LspError> {
        let path = self.path_of(agent, uri).await?;
        let path = &path;
        self.call(agent, |link| async move {
            let mut documents = self.documents.lock().await;
            let version = documents.get(path).map_or(1, |version| version + 1);
            if version == 1 && documents.len() >= MAX_DOCUMENTS {
                return Err(LspError::TooManyDocuments);
            }
            let text = read(path).await?;
            let place = link.place().await?;
            let uri = place::uri_of(path);
            if version == 1 {
                place.notify("textDocument/didOpen", &self.opened(path, version, &text));
            } else {
                let document = json!({ "uri": uri, "version": version });
                let params =
                    json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
                place.notify("textDocument/didChange", &params);
            }
            documents.insert(path.clone(), version);
            Ok(())
        })
        .await
    }

    /// Tells the server that a document is of no interest any more. One that is not open stays so.
    ///
    /// # Errors
    /// The server ended.
    pub async fn close(&self, agent: &Agent, uri: &str) -> Result<(), LspError> {
        let paths = place::candidates(uri, &self.project, &agent.home.work_dir)?;
        let paths = &paths;
        self.call(agent, |link| async move {
            let mut documents = self.documents.lock().await;
            // By name only: the file may be gone.
            let Some(path) = paths.iter().find(|path| documents.contains_key(*path)) else {
                return Ok(());
            };
            let params = json!({ "textDocument": { "uri": place::uri_of(path) } });
            link.place().await?.notify("textDocument/didClose", &params);
            documents.remove(path);
            Ok(())
        })
        .await
    }

    /// Ways to go on at a place of a document.
    ///
    /// # Errors
    /// The server refused, ended, or did not answer in time.
    pub async fn completions(
        &self,
        agent: &Agent,
        uri: &str,
        position: LspPosition,
        context: Option<CompletionContext>,
    ) -> Result<CompletionList, LspError> {
        let path = self.path_of(agent, uri).await?;
        let mut params = json!({
            "textDocument": { "uri": place::uri_of(&path) },
            "position": position,
        });
        if let Some(mut context) = context {
            context.trigger_kind = context.trigger_kind.max(INVOKED);
            params["context"] = json!(context);
        }
        let answer: Option<AnyCompletions> = self
            .request(agent, "textDocument/completion", &params)
            .await?;
        Ok(answer.map(CompletionList::from).unwrap_or_default())
    }

    /// What a document defines.
    ///
    /// # Errors
    /// The server refused, ended, or did not answer in time.
    pub async fn document_symbols(
        &self,
        agent: &Agent,
        uri: &str,
    ) -> Result<Vec<LspSymbol>, LspError> {
        let uri = place::uri_of(&self.path_of(agent, uri).await?);
        let params = json!({ "textDocument": { "uri": uri } });
        let answer: Option<Vec<AnySymbol>> = self
            .request(agent, "textDocument/documentSymbol", &params)
            .await?;
        Ok(flat(answer.unwrap_or_default(), &uri))
    }

    /// What the project defines by such a name.
    ///
    /// # Errors
    /// The server refused, ended, or did not answer in time.
    pub async fn workspace_symbols(
        &self,
        agent: &Agent,
        query: &str,
    ) -> Result<Vec<LspSymbol>, LspError> {
        let params = json!({ "query": query });
        let answer: Option<Vec<AnySymbol>> =
            self.request(agent, "workspace/symbol", &params).await?;
        Ok(flat(
            answer.unwrap_or_default(),
            &place::uri_of(&self.project),
        ))
    }

    async fn request<T: DeserializeOwned>(
        &self,
        agent: &Agent,
        method: &str,
        params: &Value,
    ) -> Result<Option<T>, LspError> {
        self.call(
            agent,
            |link| async move { link.request(method, params).await },
        )
        .await
    }

    /// Does something with the running process, within the time of a call. A process that dies meanwhile may have
    /// been dead before, unnoticed; the call is worth one more try.
    async fn call<T, F: Future<Output = Result<T, LspError>>>(
        &self,
        agent: &Agent,
        work: impl Fn(Arc<Link>) -> F,
    ) -> Result<T, LspError> {
        let mut is_first = true;
        loop {
            let process = self.running(agent).await?;
            let limited = timeout(CALL_LIMIT, async {
                // Never closed.
                let _turn = self.calls.acquire().await;
                work(process.link.clone()).await
            });
            match limited.await {
                Ok(Err(LspError::Ended(_))) if is_first => is_first = false,
                Ok(done) => return done,
                Err(_) => return Err(LspError::Timeout(CALL_LIMIT.as_secs())),
            }
        }
    }

    /// The process; a new one if the last one is dead.
    async fn running(&self, agent: &Agent) -> Result<Arc<Process>, LspError> {
        let mut stopped = self.is_stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => Err(LspError::NotStarted),
            () = agent.stopping() => Err(LspError::Stopping),
            running = self.running_or_started(agent) => running,
        }
    }

    async fn running_or_started(&self, agent: &Agent) -> Result<Arc<Process>, LspError> {
        let mut current = self.process.lock().await;
        if let Some(process) = &*current
            && !process.link.has_ended()
        {
            return Ok(process.clone());
        }
        // Its end is noticed; only the name of it is left.
        *current = None;
        let process = timeout(START_LIMIT, self.start_process(agent)).await;
        let process = process.map_err(|_| LspError::Timeout(START_LIMIT.as_secs()))?;
        let process = Arc::new(process?);
        *current = Some(process.clone());
        self.has_started.store(true, Ordering::Relaxed);
        Ok(process)
    }

    async fn start_process(&self, agent: &Agent) -> Result<Process, LspError> {
        let process = Process::start(agent, self.language, &self.project)?;
        let link = &process.link;
        let greeting = link
            .request::<Value>("initialize", &self.greeting())
            .await
            .map_err(|error| match error {
                LspError::Ended(reason) => LspError::Start(reason),
                error => LspError::Start(error.to_string()),
            });
        greeting?;
        link.place().await?.notify("initialized", &json!({}));
        let mut documents = self.documents.lock().await;
        let open: Vec<_> = documents
            .iter()
            .map(|(path, version)| (path.clone(), *version))
            .collect();
        for (path, version) in open {
            if let Ok(text) = read(&path).await {
                let params = self.opened(&path, version, &text);
                link.place().await?.notify("textDocument/didOpen", &params);
            } else {
                documents.remove(&path);
            }
        }
        drop(documents);
        Ok(process)
    }

    fn opened(&self, path: &Path, version: i64, text: &str) -> Value {
        json!({ "textDocument": {
            "uri": place::uri_of(path),
            "languageId": self.language.of_document(path),
            "version": version,
            "text": text,
        } })
    }

    /// Who we are and what we understand. No process id: a server that may not signal process 1 would take it for
    /// dead.
    fn greeting(&self) -> Value {
        let uri = place::uri_of(&self.project);
        let name = self
            .project
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        json!({
            "processId": null,
            "clientInfo": { "name": "alcove", "version": env!("CARGO_PKG_VERSION") },
            "rootPath": self.project.to_string_lossy(),
            "rootUri": uri,
            "workspaceFolders": [{ "uri": uri, "name": name }],
            "capabilities": {
                "general": { "positionEncodings": ["utf-16"] },
                "window": { "workDoneProgress": true },
                "workspace": { "configuration": true, "workspaceFolders": true, "symbol": {} },
                "textDocument": {
                    "synchronization": {},
                    "completion": {
                        "contextSupport": true,
                        "completionItem": { "documentationFormat": ["markdown", "plaintext"] },
                    },
                    "documentSymbol": { "hierarchicalDocumentSymbolSupport": false },
                },
            },
        })
    }

    async fn path_of(&self, agent: &Agent, uri: &str) -> Result<PathBuf, LspError> {
        let paths = place::candidates(uri, &self.project, &agent.home.work_dir)?;
        blocking(move || Ok(place::first_existing(paths))).await
    }
}

async fn read(path: &Path) -> Result<String, LspError> {
    let path = path.to_path_buf();
    blocking(move || place::read(&path)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LspError> + Send + 'static,
) -> Result<T, LspError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LspError::Document(error.to_string()))?
}
