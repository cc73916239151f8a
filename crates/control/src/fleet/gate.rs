//! What those ask who stand between users and sandboxes: proxies and SSH gateways that are no part of the server.
//!
//! One of a region comes with the region's key and is told of sandboxes there only; one of the operator's comes with the
//! credential of its role, and is told of all. What is not covered is not there.

use std::sync::Arc;

use alcove_domain::{OrganizationId, Port, RegionId, Sandbox, ServiceRole};
use alcove_store::Deed;

use super::RegionKey;
use crate::directory::Entry;
use crate::preview::anybodys;
use crate::preview::tokens::{is_token, label_id, read_label};
use crate::shared::Shared;
use crate::{Caller, Error, services, signed_files};

/// Who stands before sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Before all of the server.
    Server,
    /// Before one region.
    Region(RegionId),
}

impl Gate {
    pub(super) fn covers(&self, region: &str) -> bool {
        match self {
            Self::Server => true,
            Self::Region(own) => own.as_str() == region,
        }
    }
}

impl Shared {
    /// Who comes with the key of a proxy, or, where `ssh` may ask too, of an SSH gateway. None for any other text.
    pub fn gate_by_key(&self, key: &str, ssh: bool) -> Option<Gate> {
        if let Ok(role) = services::authenticate(self, key)
            && (role == ServiceRole::Proxy || ssh && role == ServiceRole::SshGateway)
        {
            note_actor(role.as_str(), None);
            return Some(Gate::Server);
        }
        let by = |which| self.region_by_key(key, which);
        let found =
            by(RegionKey::Proxy).or_else(|| ssh.then(|| by(RegionKey::SshGateway)).flatten());
        let region = self.fleet.get_region(found?.as_str())?;
        note_actor(region.id.as_str(), Some(&region.organization_id));
        Some(Gate::Region(region.id.clone()))
    }

    /// # Errors
    /// [`Error::Forbidden`] for whoever does not administer the server.
    pub async fn gate_by_caller(&self, caller: &Caller) -> Result<Gate, Error> {
        self.require_admin(caller).await?;
        Ok(Gate::Server)
    }

    pub(super) fn covered(&self, gate: &Gate, id_or_name: &str) -> Result<Arc<Entry>, Error> {
        let entry = anybodys(self, id_or_name);
        let entry = entry.filter(|entry| gate.covers(&entry.sandbox().region));
        entry.ok_or_else(|| not_found(id_or_name))
    }

    pub fn preview_is_public(&self, gate: &Gate, id_or_name: &str) -> Result<(), Error> {
        let entry = self.covered(gate, id_or_name)?;
        if entry.sandbox().is_public {
            Ok(())
        } else {
            Err(not_found(id_or_name))
        }
    }

    /// Whether a preview token opens this port. Where no port is named, whether it opens all.
    pub fn preview_token_opens(
        &self,
        gate: &Gate,
        id_or_name: &str,
        token: &str,
        port: Option<Port>,
    ) -> Result<(), Error> {
        let entry = self.covered(gate, id_or_name)?;
        if is_token(&self.secrets.previews, &entry.id, token, port) {
            Ok(())
        } else {
            Err(not_found(id_or_name))
        }
    }

    /// The sandbox that a signed label opens this port of.
    pub fn preview_label_sandbox(
        &self,
        gate: &Gate,
        label: &str,
        port: Port,
    ) -> Result<Arc<Sandbox>, Error> {
        let read = read_label(&self.secrets.previews, label, port);
        let good = read.filter(|(_, expires_at)| {
            self.clock.now() < *expires_at && !self.ended_labels.contains(&label_id(label))
        });
        let entry = good.and_then(|(sandbox, _)| self.directory.get(&sandbox));
        let sandbox = entry.map(|entry| entry.sandbox());
        sandbox
            .filter(|sandbox| sandbox.is_visible() && gate.covers(&sandbox.region))
            .ok_or_else(|| Error::forbidden("Invalid or expired preview token"))
    }

    /// The key that URLs of the sandbox's files are signed with.
    pub async fn preview_signing_key(
        &self,
        gate: &Gate,
        id_or_name: &str,
    ) -> Result<String, Error> {
        let entry = self.covered(gate, id_or_name)?;
        signed_files::key_of(self, &entry.id).await
    }

    /// The sandbox of an id, a name, or, with its port, of a signed label.
    pub fn preview_sandbox(
        &self,
        gate: &Gate,
        place: &str,
        port: Option<Port>,
    ) -> Result<Arc<Sandbox>, Error> {
        if let Ok(entry) = self.covered(gate, place) {
            return Ok(entry.sandbox());
        }
        let by_label = port.map(|port| self.preview_label_sandbox(gate, place, port));
        match by_label {
            Some(Ok(sandbox)) => Ok(sandbox),
            _ => Err(not_found(place)),
        }
    }
}

/// Says who acts, where what is asked for is written down.
fn note_actor(id: &str, home: Option<&OrganizationId>) {
    if let Some(deed) = Deed::current() {
        deed.note_actor(home, |entry| id.clone_into(&mut entry.actor_id));
    }
}

fn not_found(id_or_name: &str) -> Error {
    Error::NotFound {
        message: format!("Sandbox with ID or name {id_or_name} not found"),
    }
}
