//! Secrets that organizations keep.
//!
//! A value is sealed before it is written, and bound to its secret. Nothing here gives it out again: what would put it into
//! the requests of sandboxes does not exist yet, see `docs/adr/0042`.

use std::sync::Arc;

use alcove_domain::vault::{self, SECRETS_MAX};
use alcove_domain::{
    NewVaultSecret, OrganizationId, Permission, Reason, Sandbox, Secret, SortOrder, VaultSecret,
    VaultSecretChange, VaultSecretCursor, VaultSecretId, VaultSecretSort,
};
use alcove_store::{SealedPlace, SealedVaultSecret, StoreError, Tx};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::rng::uuid_v4;
use crate::sandboxes;
use crate::shared::Shared;
use crate::{Caller, Error};

/// Secrets on a page where the caller does not say.
const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 200;

/// Which secrets are wanted. What is None means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListVaultSecrets {
    /// A part of the name.
    pub name: Option<String>,
    pub sort: Option<VaultSecretSort>,
    pub order: Option<SortOrder>,
    pub limit: Option<i64>,
    pub cursor: Option<String>,
}

/// Some of the secrets that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSecretPage {
    pub items: Vec<VaultSecret>,
    /// How many there are on all pages.
    pub total: usize,
    pub next_cursor: Option<String>,
}

impl Shared {
    pub async fn list_vault_secrets(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<VaultSecret>, Error> {
        let found = self.store.reader().vault_secret_list(org).await;
        let sealed = found.map_err(|error| Error::store("listing secrets", error))?;
        Ok(sealed.into_iter().map(|sealed| sealed.secret).collect())
    }

    pub async fn page_vault_secrets(
        &self,
        org: &OrganizationId,
        list: ListVaultSecrets,
    ) -> Result<VaultSecretPage, Error> {
        let sort = list.sort.unwrap_or(VaultSecretSort::CreatedAt);
        let order = list.order.unwrap_or(SortOrder::Descending);
        let limit = list.limit.unwrap_or(LIMIT_DEFAULT);
        let mut reasons = Vec::new();
        if !(1..=LIMIT_MAX).contains(&limit) {
            reasons.push(Reason::invalid(format!(
                "limit must be from 1 to {LIMIT_MAX}"
            )));
        }
        let after = list.cursor.as_deref().filter(|text| !text.is_empty());
        let after = after.map(|text| {
            let read = open_cursor(sort, text);
            if read.is_none() {
                reasons.push(Reason::invalid("cursor is not valid for this sort"));
            }
            read
        });
        Error::check(reasons)?;
        let all = self.list_vault_secrets(org).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let after = after.flatten();
        let asked = (sort, order);
        let (items, total, has_more) =
            vault::page(all, list.name.as_deref(), asked, after.as_ref(), limit);
        let end = items.last().filter(|_| has_more);
        let next_cursor = end.map(|secret| seal_cursor(sort, &sort.place(secret)));
        Ok(VaultSecretPage {
            items,
            total,
            next_cursor,
        })
    }

    pub async fn find_vault_secret(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<SealedVaultSecret, Error> {
        let key: VaultSecretId = id.parse().map_err(|_| not_found(id))?;
        let reader = self.store.reader();
        let found = reader.vault_secret_find(&caller.organization, &key).await;
        found
            .map_err(|error| Error::store("looking for a secret", error))?
            .ok_or_else(|| not_found(id))
    }

    pub async fn create_vault_secret(
        &self,
        caller: &Caller,
        new: NewVaultSecret,
    ) -> Result<VaultSecret, Error> {
        caller.require(Permission::ManageSecrets)?;
        let hosts = new.check().map_err(Error::refused)?;
        let now = self.clock.now();
        let mut random = [0; 16];
        self.rng.fill(&mut random);
        let secret = VaultSecret {
            id: VaultSecretId::from_uuid(uuid_v4(&*self.rng)),
            organization_id: caller.organization.clone(),
            name: new.name,
            description: new.description.unwrap_or_default(),
            placeholder: vault::placeholder(random),
            hosts,
            created_at: now,
            updated_at: now,
        };
        let name = secret.name.clone();
        let failed = |error| match error {
            StoreError::NameTaken => Error::Conflict {
                message: format!("Secret with name {name} already exists"),
                code: "CONFLICT",
                state: None,
            },
            other => Error::store("adding a secret", other),
        };
        let org = &caller.organization;
        let tx = self.store.begin().await.map_err(failed)?;
        let value = self.seal_value(&tx, &secret.id, &new.value)?;
        let sealed = SealedVaultSecret { secret, value };
        tx.organization_hold(org).await.map_err(failed)?;
        tx.vault_secret_insert(&sealed).await.map_err(failed)?;
        // With the one that has just been written.
        if tx.vault_secret_count(org).await.map_err(failed)? > u64::from(SECRETS_MAX) {
            return Err(Error::QuotaExceeded {
                message: format!("Secret quota exceeded. Maximum allowed: {SECRETS_MAX}"),
            });
        }
        tx.commit().await.map_err(failed)?;
        Ok(sealed.secret)
    }

    pub async fn update_vault_secret(
        &self,
        caller: &Caller,
        id: &str,
        change: VaultSecretChange,
    ) -> Result<VaultSecret, Error> {
        let failed = |error| Error::store("changing a secret", error);
        caller.require(Permission::ManageSecrets)?;
        let key: VaultSecretId = id.parse().map_err(|_| not_found(id))?;
        // Read within the turn to write: a value that stays must be the one that is there, under whichever key.
        let tx = self.store.begin().await.map_err(failed)?;
        let found = tx.vault_secret_find(&caller.organization, &key).await;
        let mut sealed = found.map_err(failed)?.ok_or_else(|| not_found(id))?;
        let hosts = change.check().map_err(Error::refused)?;
        if let Some(hosts) = hosts {
            sealed.secret.hosts = hosts;
        }
        if let Some(description) = change.description {
            sealed.secret.description = description;
        }
        if let Some(value) = &change.value {
            sealed.value = self.seal_value(&tx, &sealed.secret.id, value)?;
        }
        sealed.secret.updated_at = self.clock.now();
        if !tx.vault_secret_update(&sealed).await.map_err(failed)? {
            return Err(not_found(id));
        }
        tx.commit().await.map_err(failed)?;
        Ok(sealed.secret)
    }

    pub async fn delete_vault_secret(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let failed = |error| Error::store("removing a secret", error);
        caller.require(Permission::ManageSecrets)?;
        let key: VaultSecretId = id.parse().map_err(|_| not_found(id))?;
        let tx = self.store.begin().await.map_err(failed)?;
        let deleted = tx.vault_secret_delete(&caller.organization, &key).await;
        if !deleted.map_err(failed)? {
            return Err(not_found(id));
        }
        tx.commit().await.map_err(failed)
    }

    pub fn set_sandbox_secrets(
        &self,
        caller: &Caller,
        id_or_name: &str,
        count: usize,
    ) -> Result<Arc<Sandbox>, Error> {
        caller.require(Permission::WriteSandboxes)?;
        let sandbox = sandboxes::find(self, caller, id_or_name)?.current();
        if count == 0 {
            return Ok(sandbox);
        }
        Err(Error::refused(vec![Reason::unsupported(
            "secrets is not supported by this server: it keeps secrets, and does not put them into the requests of sandboxes",
        )]))
    }

    fn seal_value(&self, tx: &Tx, id: &VaultSecretId, value: &Secret) -> Result<Vec<u8>, Error> {
        let (place, id) = (SealedPlace::VaultSecret, id.as_str());
        let sealed = self
            .sealing_key()?
            .seal(tx, &*self.rng, place, id, &value.0);
        sealed.map_err(|error| Error::Internal {
            doing: "sealing a secret",
            cause: Some(Box::new(error)),
        })
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        message: format!("Secret with ID {id} not found"),
    }
}

const fn word(sort: VaultSecretSort) -> &'static str {
    match sort {
        VaultSecretSort::Name => "name",
        VaultSecretSort::CreatedAt => "createdAt",
        VaultSecretSort::UpdatedAt => "updatedAt",
    }
}

/// Opaque to clients. It shows nothing that the page before it did not, so it is not signed.
fn seal_cursor(sort: VaultSecretSort, cursor: &VaultSecretCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {} {}", word(sort), cursor.id, cursor.key))
}

/// None if it is of another list.
fn open_cursor(sort: VaultSecretSort, text: &str) -> Option<VaultSecretCursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (id, key) = text
        .strip_prefix(word(sort))?
        .strip_prefix(' ')?
        .split_once(' ')?;
    Some(VaultSecretCursor {
        key: key.to_owned(),
        id: id.to_owned(),
    })
}
