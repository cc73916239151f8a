//! SSH access.

use std::sync::Arc;

use alcove_domain::{Port, Sandbox, SandboxId, SshKey};

use super::Control;
use crate::ssh::{self, SshGrant, SshRefusal, SshSession};
use crate::ssh_keys;
use crate::{Caller, DialError, Error, PortListener};

impl Control {
    /// Gives the sandbox a token that opens sessions for so many minutes. Earlier tokens of it open no more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time out of bounds, and [`Error::Unprocessable`] where the server takes no SSH.
    pub async fn create_ssh_access(
        &self,
        caller: &Caller,
        id_or_name: &str,
        minutes: Option<f64>,
    ) -> Result<SshGrant, Error> {
        ssh::create(&self.shared, caller, id_or_name, minutes).await
    }

    /// Ends one token of the sandbox, or all, with the sessions that came with it. Written down before it returns.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a token that this sandbox never had.
    pub async fn revoke_ssh_access(
        &self,
        caller: &Caller,
        id_or_name: &str,
        token: Option<&str>,
    ) -> Result<Arc<Sandbox>, Error> {
        ssh::revoke(&self.shared, caller, id_or_name, token).await
    }

    /// The sandbox that a token opens now; None for one that opens none of the caller's organization.
    pub async fn validate_ssh_access(
        &self,
        caller: &Caller,
        token: &str,
    ) -> Result<Option<SandboxId>, Error> {
        ssh::validate(&self.shared, Some(caller), token).await
    }

    /// Whether a text has the form of a token for SSH, known or not.
    pub fn looks_like_ssh_token(text: &str) -> bool {
        ssh::looks_like_token(text)
    }

    /// Opens a session for whoever has the token.
    pub async fn open_ssh(&self, token: &str) -> Result<SshSession, SshRefusal> {
        ssh::open(&self.shared, token).await
    }

    /// The caller's public keys in the caller's organization, the oldest first.
    pub async fn list_ssh_keys(&self, caller: &Caller) -> Result<Vec<SshKey>, Error> {
        ssh_keys::list(&self.shared, caller).await
    }

    /// Lets a public key, a line of OpenSSH, open sessions in the sandboxes of the caller's organization.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no such key, [`Error::Conflict`] for one that the caller has already, and
    /// [`Error::Unprocessable`] where the server takes no SSH.
    pub async fn create_ssh_key(
        &self,
        caller: &Caller,
        line: &str,
        name: Option<&str>,
    ) -> Result<SshKey, Error> {
        ssh_keys::create(&self.shared, caller, line, name).await
    }

    /// Removes a key of the caller's, and ends the sessions that it opened. Written down before it returns.
    pub async fn delete_ssh_key(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        ssh_keys::delete(&self.shared, caller, id).await
    }

    /// Opens a session in a sandbox for whoever has shown to have this key, in the form of the protocol.
    pub async fn open_ssh_by_key(
        &self,
        id_or_name: &str,
        key: &[u8],
    ) -> Result<SshSession, SshRefusal> {
        ssh_keys::open(&self.shared, id_or_name, key).await
    }

    /// A listener on a port of the sandbox's loopback, and which one that is; none takes a free one.
    pub async fn listen_port(
        &self,
        sandbox: &SandboxId,
        port: Option<Port>,
    ) -> Result<(Box<dyn PortListener>, u16), DialError> {
        let host = self.shared.host_of_id(sandbox);
        let host = host.ok_or(DialError::Unavailable)?;
        host.listen_port(sandbox, port).await
    }
}
