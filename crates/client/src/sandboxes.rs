//! The API: sandboxes, snapshots, and what the server says about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use alcove_agent_api::ExecRequest;
use alcove_api_types::daytona::{
    Configuration, CreateSandbox, CreateSandboxSnapshot, ForkSandbox, Health, Readiness,
    ResizeSandbox, Sandbox, SandboxLabels, SandboxListItem, SandboxesList, SnapshotPage, SshAccess,
    UpdateSandboxNetworkSettings,
};
use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::{Body, Incoming};

use crate::transport::{Transport, escaped, json};
use crate::{ClientError, Toolbox};

/// A connection to one server with one key. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

/// Which sandboxes to list.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    pub labels: BTreeMap<String, String>,
    /// Words as the API has them.
    pub states: Vec<String>,
}

impl Client {
    /// `api_url` is the address of the API with its path, such as `http://127.0.0.1:3000/api`.
    ///
    /// # Errors
    /// [`ClientError::Tls`] for an https address, if the host's certificates cannot be read.
    pub fn new(api_url: &str, key: &str) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(api_url, key)?,
        })
    }

    /// Sends a request with the caller's credentials and gives the answer as it is, whatever its status. The path is the
    /// server's, from `/api` or `/toolbox` on. No limit applies.
    ///
    /// # Errors
    /// [`ClientError::Send`] where no answer came.
    pub async fn pass<B>(&self, request: Request<B>) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.transport.pass(request).await
    }

    /// The same client with another limit for each call; None waits for ever.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self {
            transport: self.transport.with_timeout(timeout),
        }
    }

    /// Runs a program in a sandbox as clients of Vercel Sandbox do, and follows it to its end where the request says so.
    /// Gives the answer as it stood.
    pub async fn run_command(
        &self,
        sandbox: &str,
        request: &ExecRequest,
    ) -> Result<Bytes, ClientError> {
        let path = format!("/v2/sandboxes/sessions/{}/cmd", escaped(sandbox));
        let payload = json(&Method::POST, &path, request)?;
        self.transport.send(Method::POST, &path, payload).await
    }

    pub async fn health(&self) -> Result<Health, ClientError> {
        self.transport.call(Method::GET, "/health").await
    }

    pub async fn readiness(&self) -> Result<Readiness, ClientError> {
        self.transport.call(Method::GET, "/health/ready").await
    }

    pub async fn config(&self) -> Result<Configuration, ClientError> {
        self.transport.call(Method::GET, "/config").await
    }

    pub async fn create(&self, create: &CreateSandbox) -> Result<Sandbox, ClientError> {
        self.transport
            .call_with(Method::POST, "/sandbox", create)
            .await
    }

    pub async fn get(&self, id_or_name: &str) -> Result<Sandbox, ClientError> {
        self.transport
            .call(Method::GET, &format!("/sandbox/{}", escaped(id_or_name)))
            .await
    }

    /// All sandboxes that match, page after page.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<SandboxListItem>, ClientError> {
        let mut query = String::from("limit=200");
        if !filter.labels.is_empty() {
            let labels =
                serde_json::to_string(&filter.labels).map_err(|source| ClientError::Encode {
                    method: Method::GET,
                    path: "/sandbox".to_owned(),
                    source,
                })?;
            query.push_str("&labels=");
            query.push_str(&escaped(&labels));
        }
        for state in &filter.states {
            query.push_str("&states=");
            query.push_str(&escaped(state));
        }
        let mut found = Vec::new();
        let mut path = format!("/sandbox?{query}");
        loop {
            let page: SandboxesList = self.transport.call(Method::GET, &path).await?;
            found.extend(page.items);
            match page.next_cursor {
                None => return Ok(found),
                Some(cursor) => path = format!("/sandbox?{query}&cursor={}", escaped(&cursor)),
            }
        }
    }

    /// A token for SSH sessions, for as long as the server lets one have it that nobody asked a time for.
    pub async fn create_ssh_access(&self, id_or_name: &str) -> Result<SshAccess, ClientError> {
        let path = format!("/sandbox/{}/ssh-access", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    pub async fn delete(&self, id_or_name: &str) -> Result<Sandbox, ClientError> {
        self.transport
            .call(Method::DELETE, &format!("/sandbox/{}", escaped(id_or_name)))
            .await
    }

    pub async fn start(&self, id_or_name: &str) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/start", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    /// With `force` the programs inside are not asked to end first.
    pub async fn stop(&self, id_or_name: &str, force: bool) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/stop?force={force}", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    pub async fn set_labels(
        &self,
        id_or_name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<SandboxLabels, ClientError> {
        let path = format!("/sandbox/{}/labels", escaped(id_or_name));
        self.transport
            .call_with(Method::PUT, &path, &SandboxLabels { labels })
            .await
    }

    /// Idle minutes until the sandbox is stopped; 0 is never.
    pub async fn pause(&self, id_or_name: &str) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/pause", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    pub async fn archive(&self, id_or_name: &str) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/archive", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    pub async fn recover(&self, id_or_name: &str) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/recover", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    pub async fn resize(
        &self,
        id_or_name: &str,
        sizes: &ResizeSandbox,
    ) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/resize", escaped(id_or_name));
        self.transport.call_with(Method::POST, &path, sizes).await
    }

    /// Answers with the new sandbox.
    pub async fn fork(&self, id_or_name: &str, name: &str) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/fork", escaped(id_or_name));
        let body = ForkSandbox {
            name: Some(name.to_owned()),
        };
        self.transport.call_with(Method::POST, &path, &body).await
    }

    /// Makes a snapshot of this name out of the sandbox's files.
    pub async fn snapshot(&self, id_or_name: &str, name: &str) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/snapshot", escaped(id_or_name));
        let body = CreateSandboxSnapshot {
            name: name.to_owned(),
            include_memory: None,
        };
        self.transport.call_with(Method::POST, &path, &body).await
    }

    /// Sets what a sandbox may reach; returns once that is in force.
    pub async fn set_network(
        &self,
        id_or_name: &str,
        settings: &UpdateSandboxNetworkSettings,
    ) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/network-settings", escaped(id_or_name));
        self.transport
            .call_with(Method::POST, &path, settings)
            .await
    }

    pub async fn set_auto_stop(
        &self,
        id_or_name: &str,
        minutes: i64,
    ) -> Result<Sandbox, ClientError> {
        let path = format!("/sandbox/{}/autostop/{minutes}", escaped(id_or_name));
        self.transport.call(Method::POST, &path).await
    }

    /// The first page of snapshots.
    pub async fn snapshots(&self) -> Result<SnapshotPage, ClientError> {
        self.transport.call(Method::GET, "/snapshots").await
    }

    /// The toolbox of a sandbox, at the address that the sandbox names.
    pub fn toolbox(&self, sandbox: &Sandbox) -> Result<Toolbox, ClientError> {
        let base = sandbox.toolbox_proxy_url.trim_end_matches('/');
        let url = format!("{base}/{}", escaped(&sandbox.id));
        Ok(Toolbox::new(self.transport.with_base(&url)?))
    }
}
