//! Proxies of single sandboxes: sealed in the row, opened for the order to run and for who reads the sandbox.

use alcove_domain::{OrganizationId, OutboundProxy, Sandbox, SealedProxy};

use crate::Error;
use crate::shared::Shared;

/// What a sealed proxy belongs to: a fork takes its bytes over, and stays in the organization.
fn owner(organization: &OrganizationId) -> String {
    format!("outbound proxy of {organization}")
}

impl Shared {
    pub(crate) fn seal_proxy(
        &self,
        organization: &OrganizationId,
        proxy: Option<&OutboundProxy>,
    ) -> Result<Option<SealedProxy>, Error> {
        let Some(proxy) = proxy else { return Ok(None) };
        let key = self.sealing_key()?;
        let sealed = key.seal(&*self.rng, &owner(organization), proxy.as_written());
        sealed
            .map(|bytes| Some(SealedProxy(bytes)))
            .map_err(|error| Error::Internal {
                doing: "sealing the proxy of a sandbox",
                cause: Some(Box::new(error)),
            })
    }

    /// None also where it does not open: it is no policy, so nothing is open that was not.
    pub(crate) fn open_proxy(&self, sandbox: &Sandbox) -> Option<OutboundProxy> {
        let sealed = sandbox.outbound_proxy.as_ref()?;
        let key = self.sealing_key().ok();
        let url = key.and_then(|key| key.open(&owner(&sandbox.organization_id), &sealed.0).ok());
        let proxy = url.and_then(|url| OutboundProxy::parse(&url).ok());
        if proxy.is_none() {
            tracing::error!(sandbox.id = %sandbox.id, "the proxy of {} does not open", sandbox.id);
        }
        proxy
    }
}
