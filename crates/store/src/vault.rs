//! Secrets that organizations keep, with their values as sealed bytes that only `alcove-control` can open.

use alcove_domain::{OrganizationId, VaultSecret, VaultSecretId};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel,
    PaginatorTrait as _, QueryFilter, QueryOrder as _, SqlErr,
};

use crate::convert::{Place, json_list};
use crate::entity::vault_secret::{ActiveModel, Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// A secret and its sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedVaultSecret {
    pub secret: VaultSecret,
    pub value: Vec<u8>,
}

impl Reader {
    pub async fn vault_secret_find(
        &self,
        org: &OrganizationId,
        id: &VaultSecretId,
    ) -> Result<Option<SealedVaultSecret>, StoreError> {
        find(&self.connection, org, id).await
    }

    /// Those of an organization, the oldest first.
    pub async fn vault_secret_list(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SealedVaultSecret>, StoreError> {
        let rows = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("secrets"))?;
        rows.into_iter().map(from_row).collect()
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    org: &OrganizationId,
    id: &VaultSecretId,
) -> Result<Option<SealedVaultSecret>, StoreError> {
    let row = Entity::find_by_id(id.as_str())
        .filter(Column::OrganizationId.eq(org.as_str()))
        .one(connection)
        .await
        .map_err(StoreError::read("a secret"))?;
    row.map(from_row).transpose()
}

impl Tx {
    /// As [`Reader::vault_secret_find`], within the transaction.
    pub async fn vault_secret_find(
        &self,
        org: &OrganizationId,
        id: &VaultSecretId,
    ) -> Result<Option<SealedVaultSecret>, StoreError> {
        find(&self.transaction, org, id).await
    }

    pub async fn vault_secret_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the number of secrets"))
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if the organization has a secret of that name.
    pub async fn vault_secret_insert(&self, sealed: &SealedVaultSecret) -> Result<(), StoreError> {
        Entity::insert(to_row(sealed))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                // The id is random: of the two unique things, only the name can be taken.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a secret",
                    source,
                },
            })?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn vault_secret_update(
        &self,
        sealed: &SealedVaultSecret,
    ) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(sealed))
            .filter(Column::Id.eq(sealed.secret.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a secret"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn vault_secret_delete(
        &self,
        org: &OrganizationId,
        id: &VaultSecretId,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a secret"))?;
        Ok(result.rows_affected == 1)
    }
}

const fn place(column: &'static str) -> Place {
    Place {
        table: "vault_secrets",
        column,
    }
}

fn to_row(sealed: &SealedVaultSecret) -> ActiveModel {
    let secret = &sealed.secret;
    let hosts: Vec<String> = secret.hosts.iter().map(ToString::to_string).collect();
    Model {
        id: secret.id.to_string(),
        organization_id: secret.organization_id.to_string(),
        name: secret.name.clone(),
        description: secret.description.clone(),
        placeholder: secret.placeholder.clone(),
        hosts: json_list(&hosts),
        value: hex::encode(&sealed.value),
        created_at: secret.created_at.as_millisecond(),
        updated_at: secret.updated_at.as_millisecond(),
    }
    .into_active_model()
    .reset_all()
}

fn from_row(row: Model) -> Result<SealedVaultSecret, StoreError> {
    let hosts = place("hosts").list(&row.hosts)?.into_iter();
    let hosts = hosts.map(|host| host.parse().map_err(|_| place("hosts").bad(host)));
    let secret = VaultSecret {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        name: row.name,
        description: row.description,
        placeholder: row.placeholder,
        hosts: hosts.collect::<Result<_, _>>()?,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    };
    Ok(SealedVaultSecret {
        secret,
        value: hex::decode(&row.value).map_err(|_| place("value").bad("not hex"))?,
    })
}
