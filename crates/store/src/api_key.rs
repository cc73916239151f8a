//! API keys.

use alcove_domain::{ApiKey, ApiKeyHash, OrganizationId, Permission, Permissions, UserId};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait as _, QueryFilter, SqlErr,
};

use crate::convert::{Place, json_list};
use crate::entity::api_key;
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
}

impl Tx {
    pub async fn api_key_replace(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.api_key_delete(&key.organization_id, &key.user_id, &key.name)
            .await?;
        self.api_key_insert(key).await
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if the user has a key of that name in the organization.
    pub async fn api_key_insert(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.note_made("api_key", &key.name);
        let row = api_key::Model {
            hash: to_hex(key.hash),
            organization_id: key.organization_id.to_string(),
            user_id: key.user_id.to_string(),
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            suffix: key.suffix.clone(),
            permissions: words(&key.permissions),
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

    /// Ends all keys that a user has in an organization.
    pub async fn api_key_delete_all(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<(), StoreError> {
        api_key::Entity::delete_many()
            .filter(api_key::Column::OrganizationId.eq(org.as_str()))
            .filter(api_key::Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("API keys"))?;
        Ok(())
    }
}

/// Permissions as a column has them.
pub(crate) fn words(permissions: &Permissions) -> String {
    let words: Vec<String> = permissions
        .iter()
        .map(|permission| permission.as_str().to_owned())
        .collect();
    json_list(&words)
}

/// The permissions that a column holds.
pub(crate) fn permissions(place: Place, text: &str) -> Result<Permissions, StoreError> {
    let words = place.list(text)?;
    words
        .iter()
        .map(|text| place.word(text, Permission::parse))
        .collect()
}

fn key_from_row(row: api_key::Model) -> Result<ApiKey, StoreError> {
    let hash = from_hex(&row.hash).ok_or_else(|| key_place("hash").bad("not 64 hex digits"))?;
    let permissions = permissions(key_place("permissions"), &row.permissions)?;
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
