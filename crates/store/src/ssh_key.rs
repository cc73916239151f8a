//! Public keys of users, for SSH.

use alcove_domain::{OrganizationId, SshKey, SshKeyFingerprint, SshKeyId, SshPublicKey, UserId};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::convert::Place;
use crate::entity::ssh_key::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Those of a user in an organization, the oldest first.
    pub async fn ssh_key_list(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<Vec<SshKey>, StoreError> {
        let rows = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::UserId.eq(user.as_str()))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("SSH keys"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Whoever they belong to, at most so many.
    pub async fn ssh_key_find(
        &self,
        fingerprint: SshKeyFingerprint,
        most: u64,
    ) -> Result<Vec<SshKey>, StoreError> {
        let rows = Entity::find()
            .filter(Column::Fingerprint.eq(hex::encode(fingerprint.0)))
            .order_by_asc(Column::Id)
            .limit(most)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("SSH keys"))?;
        rows.into_iter().map(from_row).collect()
    }

    pub async fn ssh_key_exists(&self, id: &SshKeyId) -> Result<bool, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("an SSH key"))?;
        Ok(row.is_some())
    }
}

impl Tx {
    pub async fn ssh_key_count(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::UserId.eq(user.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the number of SSH keys"))
    }

    /// Whether the user has this key in the organization.
    pub async fn ssh_key_holds(
        &self,
        org: &OrganizationId,
        user: &UserId,
        fingerprint: SshKeyFingerprint,
    ) -> Result<bool, StoreError> {
        let count = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::UserId.eq(user.as_str()))
            .filter(Column::Fingerprint.eq(hex::encode(fingerprint.0)))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("an SSH key"))?;
        Ok(count > 0)
    }

    pub async fn ssh_key_insert(&self, key: &SshKey) -> Result<(), StoreError> {
        self.note_made("ssh_key", key.id.as_str());
        Entity::insert(to_row(key).into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an SSH key"))?;
        Ok(())
    }

    /// False if the user has no such key in the organization.
    pub async fn ssh_key_delete(
        &self,
        org: &OrganizationId,
        user: &UserId,
        id: &SshKeyId,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_many()
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an SSH key"))?;
        Ok(result.rows_affected == 1)
    }
}

fn to_row(key: &SshKey) -> Model {
    Model {
        id: key.id.to_string(),
        organization_id: key.organization_id.to_string(),
        user_id: key.user_id.to_string(),
        name: key.name.clone(),
        fingerprint: hex::encode(key.fingerprint.0),
        public_key: key.public.to_line(),
        created_at: key.created_at.as_millisecond(),
    }
}

fn from_row(row: Model) -> Result<SshKey, StoreError> {
    let place = |column| Place {
        table: "ssh_keys",
        column,
    };
    let mut fingerprint = [0; 32];
    hex::decode_to_slice(&row.fingerprint, &mut fingerprint)
        .map_err(|_| place("fingerprint").bad(&row.fingerprint))?;
    let (public, _) = SshPublicKey::parse(&row.public_key)
        .map_err(|_| place("public_key").bad(&row.public_key))?;
    Ok(SshKey {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        user_id: place("user_id").id(row.user_id)?,
        name: row.name,
        public,
        fingerprint: SshKeyFingerprint(fingerprint),
        created_at: place("created_at").time(row.created_at)?,
    })
}
