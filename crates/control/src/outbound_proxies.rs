//! Proxies of single sandboxes: sealed in the row, opened for the order to run and for who reads the sandbox.

use alcove_domain::{OrganizationId, OutboundProxy, Sandbox, SealedProxy};
use alcove_store::SealedPlace;

use crate::Error;
use crate::shared::Shared;

const PLACE: SealedPlace = SealedPlace::SandboxProxy;

impl Shared {
    /// Whoever writes the sandbox sees to it that the key is still the one that seals; see `sealing::settle_proxy`.
    pub(crate) fn seal_proxy(
        &self,
        organization: &OrganizationId,
        proxy: Option<&OutboundProxy>,
    ) -> Result<Option<SealedProxy>, Error> {
        let Some(proxy) = proxy else { return Ok(None) };
        let key = self.sealing_key()?;
        let (owner, secret) = (organization.as_str(), proxy.as_written());
        let sealed = key.seal_early(&*self.rng, PLACE, owner, secret);
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
        let owner = sandbox.organization_id.as_str();
        let url = key.and_then(|key| key.open(PLACE, owner, &sealed.0).ok());
        let proxy = url.and_then(|url| OutboundProxy::parse(&url).ok());
        if proxy.is_none() {
            tracing::error!(sandbox.id = %sandbox.id, "the proxy of {} does not open", sandbox.id);
        }
        proxy
    }
}
