//! Sessions of people who have signed in.

use alcove_domain::{LoginSession, SessionHash, SsoOrigin, SsoProviderId, UserId};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};

use crate::convert::Place;
use crate::entity::login_session::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn login_session_find(
        &self,
        hash: SessionHash,
    ) -> Result<Option<LoginSession>, StoreError> {
        let row = Entity::find_by_id(hex::encode(hash.0))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a session"))?;
        let place = |column| Place {
            table: "login_sessions",
            column,
        };
        row.map(|row| {
            let came_by = match (row.sso_organization_id, row.sso_provider_id) {
                (Some(org), Some(provider)) => Some(SsoOrigin {
                    organization_id: place("sso_organization_id").id(org)?,
                    provider_id: place("sso_provider_id").id(provider)?,
                }),
                (None, None) => None,
                // Without its bound, a session would open more than it may.
                (org, provider) => {
                    let half = format!("{org:?} {provider:?}");
                    return Err(place("sso_organization_id").bad(half));
                }
            };
            Ok(LoginSession {
                hash,
                user_id: place("user_id").id(row.user_id)?,
                created_at: place("created_at").time(row.created_at)?,
                last_used_at: place("last_used_at").time(row.last_used_at)?,
                expires_at: place("expires_at").time(row.expires_at)?,
                came_by,
            })
        })
        .transpose()
    }
}

impl Tx {
    pub async fn login_session_insert(&self, session: &LoginSession) -> Result<(), StoreError> {
        let came_by = session.came_by.as_ref();
        let row = Model {
            sso_organization_id: came_by.map(|by| by.organization_id.to_string()),
            sso_provider_id: came_by.map(|by| by.provider_id.to_string()),
            hash: hex::encode(session.hash.0),
            user_id: session.user_id.to_string(),
            created_at: session.created_at.as_millisecond(),
            last_used_at: session.last_used_at.as_millisecond(),
            expires_at: session.expires_at.as_millisecond(),
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a session"))?;
        Ok(())
    }

    /// Ends a session. Whether it was there.
    pub async fn login_session_delete(&self, hash: SessionHash) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(hex::encode(hash.0))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a session"))?;
        Ok(result.rows_affected > 0)
    }

    /// Ends all sessions of a user.
    pub async fn login_session_delete_all(&self, user: &UserId) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("sessions"))?;
        Ok(())
    }

    /// Ends all sessions that an organization's provider began.
    pub async fn login_session_delete_by_sso(&self, by: &SsoProviderId) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::SsoProviderId.eq(by.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("sessions"))?;
        Ok(())
    }

    /// Ends all sessions of a user that an organization's provider began.
    pub async fn login_session_delete_by_sso_of(
        &self,
        by: &SsoProviderId,
        user: &UserId,
    ) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::SsoProviderId.eq(by.as_str()))
            .filter(Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("sessions"))?;
        Ok(())
    }

    /// Ends the sessions of a user but for those that were used last. Whether there were more.
    pub async fn login_session_keep(
        &self,
        user: &UserId,
        count: usize,
    ) -> Result<bool, StoreError> {
        let kept: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Hash)
            .filter(Column::UserId.eq(user.as_str()))
            .order_by_desc(Column::LastUsedAt)
            .order_by_desc(Column::CreatedAt)
            .order_by_asc(Column::Hash)
            .limit(u64::try_from(count).unwrap_or(u64::MAX))
            .into_tuple()
            .all(&self.transaction)
            .await
            .map_err(StoreError::read("sessions"))?;
        let result = Entity::delete_many()
            .filter(Column::UserId.eq(user.as_str()))
            .filter(Column::Hash.is_not_in(kept))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("sessions"))?;
        Ok(result.rows_affected > 0)
    }

    /// Writes down when a session was last used. One that is gone stays gone.
    pub async fn login_session_touch(
        &self,
        hash: SessionHash,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::LastUsedAt, Expr::value(at.as_millisecond()))
            .filter(Column::Hash.eq(hex::encode(hash.0)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the last use of a session"))?;
        Ok(())
    }

    /// Removes sessions that have expired, or were last used before.
    pub async fn login_session_prune(
        &self,
        now: Timestamp,
        unused_since: Timestamp,
    ) -> Result<(), StoreError> {
        let has_ended = Condition::any()
            .add(Column::ExpiresAt.lte(now.as_millisecond()))
            .add(Column::LastUsedAt.lte(unused_since.as_millisecond()));
        Entity::delete_many()
            .filter(has_ended)
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("ended sessions"))?;
        Ok(())
    }
}
