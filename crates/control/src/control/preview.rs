//! Ways into sandboxes.

use std::sync::Arc;

use alcove_domain::{OrganizationId, Port, Sandbox, SandboxId};

use super::{Control, ToolboxTarget};
use crate::preview::{self, Admission, SignedLabel, Visitor};
use crate::sandboxes;
use crate::signed_files;
use crate::{AgentConnection, AgentStream, Caller, DialError, Error};

impl Control {
    /// Where a toolbox request goes; memory only, but for a key that was not seen for long.
    ///
    /// # Errors
    /// [`Error::Invalid`] with code `SANDBOX_NOT_STARTED` if it is not running.
    pub async fn admit_toolbox(
        &self,
        visitor: &Visitor<'_>,
        id_or_name: &str,
    ) -> Result<ToolboxTarget, Error> {
        preview::admit_toolbox(&self.shared, visitor, id_or_name).await
    }

    /// The organization of the sandbox with this id. For choosing where a person acts who is a member of it, and nothing else: who
    /// is none must not be told.
    pub fn organization_of_sandbox(&self, id: &str) -> Option<OrganizationId> {
        let entry = self.shared.directory.get(&id.parse().ok()?)?;
        let sandbox = entry.sandbox();
        sandbox
            .is_visible()
            .then(|| sandbox.organization_id.clone())
    }

    /// Where the toolbox requests of a caller go.
    ///
    /// # Errors
    /// As [`Control::admit_toolbox`].
    pub fn resolve_toolbox(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<ToolboxTarget, Error> {
        sandboxes::resolve_toolbox(&self.shared, caller, id_or_name)
    }

    /// Where a request for a port of a sandbox goes. `place` is an id, a name, or a signed label.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] whether there is no such sandbox or the visitor may not see it;
    /// [`Error::Invalid`] with code `SANDBOX_NOT_STARTED` if it is not running.
    pub async fn admit_port(
        &self,
        visitor: &Visitor<'_>,
        place: &str,
        port: Port,
    ) -> Result<Admission, Error> {
        preview::admit_port(&self.shared, visitor, place, port).await
    }

    /// The sandbox, and a token that opens as much of it as the caller may.
    pub fn preview_token(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<(Arc<Sandbox>, String), Error> {
        preview::token(&self.shared, caller, id_or_name)
    }

    /// The key with which the caller signs URLs of the sandbox's files.
    pub async fn signing_key(&self, caller: &Caller, id_or_name: &str) -> Result<String, Error> {
        signed_files::key(&self.shared, caller, id_or_name).await
    }

    /// Changes that key; what was signed with the one before opens nothing any more.
    pub async fn rotate_signing_key(
        &self,
        caller: &Caller,
        id_or_name: &str,
    ) -> Result<String, Error> {
        signed_files::rotate(&self.shared, caller, id_or_name).await
    }

    /// Signs an address of one port, good for so many seconds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for less than a second and more than a day.
    pub fn sign_preview(
        &self,
        caller: &Caller,
        id_or_name: &str,
        port: Port,
        seconds: Option<i64>,
    ) -> Result<SignedLabel, Error> {
        preview::sign(&self.shared, caller, id_or_name, port, seconds)
    }

    /// Ends a signed address before its time. Written down before it returns.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a label that was not signed for this port of this sandbox.
    pub async fn end_preview(
        &self,
        caller: &Caller,
        id_or_name: &str,
        port: Port,
        label: &str,
    ) -> Result<(), Error> {
        preview::end(&self.shared, caller, id_or_name, port, label).await
    }

    /// A fresh connection to the sandbox's agent.
    pub async fn dial_agent(&self, sandbox: &SandboxId) -> Result<AgentConnection, DialError> {
        let host = self.shared.host_of_id(sandbox);
        host.ok_or(DialError::Unavailable)?
            .dial_agent(sandbox)
            .await
    }

    /// A fresh connection to what listens on this port of the sandbox's loopback.
    pub async fn dial_port(
        &self,
        sandbox: &SandboxId,
        port: Port,
    ) -> Result<Box<dyn AgentStream>, DialError> {
        let host = self.shared.host_of_id(sandbox);
        let host = host.ok_or(DialError::Unavailable)?;
        host.dial_port(sandbox, port).await
    }
}
