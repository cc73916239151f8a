//! Users, organizations and their keys.

use alcove_domain::{ApiKey, ApiKeyHash, Organization, OrganizationId, Permission, User, UserId};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use crate::convert::{Place, json_list};
use crate::entity::{api_key, organization, user};
use crate::{Reader, StoreError, Tx};

fn key_place(column: &'static str) -> Place {
    Place {
        table: "api_keys",
        column,
    }
}

impl Reader {
    pub async fn api_key_find(&self, hash: ApiKeyHash) -> Result<Option<ApiKey>, StoreError> {
        let row = api_key::Entity::find_by_id(to_hex(hash))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("an API key"))?;
        row.map(key_from_row).transpose()
    }

    pub async fn user_find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let row = user::Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a user"))?;
        row.map(user_from_row).transpose()
    }

    /// The first administrator.
    pub async fn user_find_admin(&self) -> Result<Option<User>, StoreError> {
        let row = user::Entity::find()
            .filter(user::Column::IsAdmin.eq(true))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the administrator"))?;
        row.map(user_from_row).transpose()
    }

    pub async fn organization_find(
        &self,
        id: &OrganizationId,
    ) -> Result<Option<Organization>, StoreError> {
        let row = organization::Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("an organization"))?;
        row.map(organization_from_row).transpose()
    }

    pub async fn organization_find_personal(
        &self,
        owner: &UserId,
    ) -> Result<Option<Organization>, StoreError> {
        let row = organization::Entity::find()
            .filter(organization::Column::CreatedBy.eq(owner.as_str()))
            .filter(organization::Column::IsPersonal.eq(true))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a personal organization"))?;
        row.map(organization_from_row).transpose()
    }
}

impl Tx {
    pub async fn user_insert(&self, user: &User) -> Result<(), StoreError> {
        let row = user::Model {
            id: user.id.to_string(),
            name: user.name.clone(),
            email: user.email.clone(),
            is_admin: user.is_admin,
            created_at: user.created_at.as_millisecond(),
        };
        user::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a user"))?;
        Ok(())
    }

    pub async fn organization_insert(&self, org: &Organization) -> Result<(), StoreError> {
        let row = organization::Model {
            id: org.id.to_string(),
            name: org.name.clone(),
            created_by: org.created_by.to_string(),
            is_personal: org.is_personal,
            created_at: org.created_at.as_millisecond(),
            volume_quota: None,
        };
        organization::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(())
    }

    /// Puts the key in the place of the one with the same owner and name, if there is one.
    pub async fn api_key_replace(&self, key: &ApiKey) -> Result<(), StoreError> {
        api_key::Entity::delete_many()
            .filter(api_key::Column::OrganizationId.eq(key.organization_id.as_str()))
            .filter(api_key::Column::UserId.eq(key.user_id.as_str()))
            .filter(api_key::Column::Name.eq(key.name.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an API key"))?;
        let permissions: Vec<String> = key
            .permissions
            .iter()
            .map(|permission| permission.as_str().to_owned())
            .collect();
        let row = api_key::Model {
            hash: to_hex(key.hash),
            organization_id: key.organization_id.to_string(),
            user_id: key.user_id.to_string(),
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            suffix: key.suffix.clone(),
            permissions: json_list(&permissions),
            created_at: key.created_at.as_millisecond(),
            expires_at: key.expires_at.map(jiff::Timestamp::as_millisecond),
        };
        api_key::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an API key"))?;
        Ok(())
    }
}

fn user_from_row(row: user::Model) -> Result<User, StoreError> {
    let place = |column| Place {
        table: "users",
        column,
    };
    Ok(User {
        id: place("id").id(row.id)?,
        name: row.name,
        email: row.email,
        is_admin: row.is_admin,
        created_at: place("created_at").time(row.created_at)?,
    })
}

fn organization_from_row(row: organization::Model) -> Result<Organization, StoreError> {
    let place = |column| Place {
        table: "organizations",
        column,
    };
    Ok(Organization {
        id: place("id").id(row.id)?,
        name: row.name,
        created_by: place("created_by").id(row.created_by)?,
        is_personal: row.is_personal,
        created_at: place("created_at").time(row.created_at)?,
    })
}

fn key_from_row(row: api_key::Model) -> Result<ApiKey, StoreError> {
    let hash = from_hex(&row.hash).ok_or_else(|| key_place("hash").bad("not 64 hex digits"))?;
    let permissions = key_place("permissions")
        .list(&row.permissions)?
        .iter()
        .map(|text| key_place("permissions").word(text, Permission::parse))
        .collect::<Result<_, _>>()?;
    Ok(ApiKey {
        hash,
        organization_id: key_place("organization_id").id(row.organization_id)?,
        user_id: key_place("user_id").id(row.user_id)?,
        name: row.name,
        prefix: row.prefix,
        suffix: row.suffix,
        permissions,
        created_at: key_place("created_at").time(row.created_at)?,
        expires_at: key_place("expires_at").time_option(row.expires_at)?,
    })
}

fn to_hex(hash: ApiKeyHash) -> String {
    hex::encode(hash.0)
}

fn from_hex(text: &str) -> Option<ApiKeyHash> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(ApiKeyHash(bytes))
}
