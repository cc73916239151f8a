//! Whom registries of images know.

use std::collections::BTreeMap;
use std::fmt;

use alcove_domain::OrganizationId;
use alcove_runner_api::RegistryCredentials;
use async_trait::async_trait;

use crate::Error;

/// Where credentials for registries come from.
#[async_trait]
pub trait CredentialsSource: fmt::Debug + Send + Sync + 'static {
    /// What an organization pulls with from this registry, named as in references; none is anonymous.
    async fn find(
        &self,
        organization: &OrganizationId,
        registry: &str,
    ) -> Result<Option<RegistryCredentials>, Error>;
}

/// Those that the operator has configured, by registry. They are every organization's.
#[derive(Debug, Default)]
pub struct ConfiguredCredentials(pub BTreeMap<String, RegistryCredentials>);

#[async_trait]
impl CredentialsSource for ConfiguredCredentials {
    async fn find(
        &self,
        _: &OrganizationId,
        registry: &str,
    ) -> Result<Option<RegistryCredentials>, Error> {
        Ok(self.0.get(registry).cloned())
    }
}
