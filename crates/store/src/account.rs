//! Users, organizations and their keys.

use alcove_domain::{ApiKey, ApiKeyHash, Organization, OrganizationId, Permission, User, UserId};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait as _, QueryFilter, SqlErr,
};

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

    /// Keys of an organization: of one user, or of all where none is named. In no order.
    pub async fn api_key_list(
        &self,
        org: &OrganizationId,
        user: Option<&UserId>,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let mut query =
            api_key::Entity::find().filter(api_key::Column::OrganizationId.eq(org.as_str()));
        if let Some(user) = user {
            query = query.filter(api_key::Column::UserId.eq(user.as_str()));
        }
        let rows = query
            .all(&self.connection)
            .await
            .map_err(StoreError::read("API keys"))?;
        rows.into_iter().map(key_from_row).collect()
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

    /// Organizations whose sandboxes' traffic is marked.
    pub async fn organization_list_limited(&self) -> Result<Vec<OrganizationId>, StoreError> {
        let rows = organization::Entity::find()
            .filter(organization::Column::IsEgressLimited.eq(true))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("organizations"))?;
        rows.into_iter()
            .map(|row| Ok(organization_from_row(row)?.id))
            .collect()
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
            is_egress_limited: org.is_egress_limited,
        };
        organization::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(())
    }

    /// Whether what an organization's sandboxes send is marked. False where there is no such organization.
    pub async fn organization_limit_egress(
        &self,
        org: &OrganizationId,
        is_limited: bool,
    ) -> Result<bool, StoreError> {
        let result = organization::Entity::update_many()
            .col_expr(
                organization::Column::IsEgressLimited,
                Expr::value(is_limited),
            )
            .filter(organization::Column::Id.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(result.rows_affected == 1)
    }

    /// Puts the key in the place of the one with the same owner and name, if there is one.
    pub async fn api_key_replace(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.api_key_delete(&key.organization_id, &key.user_id, &key.name)
            .await?;
        self.api_key_insert(key).await
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if the user has a key of that name in the organization.
    pub async fn api_key_insert(&self, key: &ApiKey) -> Result<(), StoreError> {
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
            last_used_at: key.last_used_at.map(jiff::Timestamp::as_millisecond),
        };
        api_key::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                // The text is random: of the two unique things, only the name can be taken.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "an API key",
                    source,
                },
            })?;
        Ok(())
    }

    /// How many keys a user has in an organization.
    pub async fn api_key_count(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<u64, StoreError> {
        api_key::Entity::find()
            .filter(api_key::Column::OrganizationId.eq(org.as_str()))
            .filter(api_key::Column::UserId.eq(user.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("API keys"))
    }

    /// Whether there was such a key.
    pub async fn api_key_delete(
        &self,
        org: &OrganizationId,
        user: &UserId,
        name: &str,
    ) -> Result<bool, StoreError> {
        let result = api_key::Entity::delete_many()
            .filter(api_key::Column::OrganizationId.eq(org.as_str()))
            .filter(api_key::Column::UserId.eq(user.as_str()))
            .filter(api_key::Column::Name.eq(name))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an API key"))?;
        Ok(result.rows_affected > 0)
    }

    /// Writes down when a key was last used. A key that is gone stays gone.
    pub async fn api_key_touch(
        &self,
        key: ApiKeyHash,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        api_key::Entity::update_many()
            .col_expr(
                api_key::Column::LastUsedAt,
                Expr::value(at.as_millisecond()),
            )
            .filter(api_key::Column::Hash.eq(to_hex(key)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the last use of an API key"))?;
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
        is_egress_limited: row.is_egress_limited,
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
        last_used_at: key_place("last_used_at").time_option(row.last_used_at)?,
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
