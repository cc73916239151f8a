//! Secrets that organizations keep, from the one door.

use std::sync::Arc;

use alcove_domain::{NewVaultSecret, Sandbox, VaultSecret, VaultSecretChange};

use super::Control;
use crate::vault::{ListVaultSecrets, VaultSecretPage};
use crate::{Caller, Error};

impl Control {
    /// Those of the caller's organization, the oldest first.
    pub async fn list_vault_secrets(&self, caller: &Caller) -> Result<Vec<VaultSecret>, Error> {
        self.shared.list_vault_secrets(&caller.organization).await
    }

    pub async fn page_vault_secrets(
        &self,
        caller: &Caller,
        list: ListVaultSecrets,
    ) -> Result<VaultSecretPage, Error> {
        let org = &caller.organization;
        self.shared.page_vault_secrets(org, list).await
    }

    pub async fn get_vault_secret(&self, caller: &Caller, id: &str) -> Result<VaultSecret, Error> {
        Ok(self.shared.find_vault_secret(caller, id).await?.secret)
    }

    /// # Errors
    /// [`Error::Conflict`] if the organization has a secret of this name.
    pub async fn create_vault_secret(
        &self,
        caller: &Caller,
        new: NewVaultSecret,
    ) -> Result<VaultSecret, Error> {
        self.shared.create_vault_secret(caller, new).await
    }

    pub async fn update_vault_secret(
        &self,
        caller: &Caller,
        id: &str,
        change: VaultSecretChange,
    ) -> Result<VaultSecret, Error> {
        self.shared.update_vault_secret(caller, id, change).await
    }

    pub async fn delete_vault_secret(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.shared.delete_vault_secret(caller, id).await
    }

    /// Gives a sandbox so many secrets instead of those that it has. It can be given none.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] for any.
    pub fn set_sandbox_secrets(
        &self,
        caller: &Caller,
        id_or_name: &str,
        count: usize,
    ) -> Result<Arc<Sandbox>, Error> {
        self.shared.set_sandbox_secrets(caller, id_or_name, count)
    }
}
