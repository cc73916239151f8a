//! Users as identity providers know them.

use alcove_domain::UserId;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::identity::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// Whom a provider means by a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub user_id: UserId,
    /// Whether the user was there before, and has linked it. Else its tokens have made the user.
    pub is_linked: bool,
}

impl Reader {
    /// Those that mean a user.
    pub async fn identity_list_of(&self, user: &UserId) -> Result<Vec<Identity>, StoreError> {
        let rows = Entity::find()
            .filter(Column::UserId.eq(user.as_str()))
            .order_by_asc(Column::Issuer)
            .order_by_asc(Column::Subject)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("identities"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Whom a provider means by a subject.
    pub async fn identity_find(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, StoreError> {
        find(&self.connection, issuer, subject).await
    }
}

impl Tx {
    /// As [`Reader::identity_find`], within the transaction.
    pub async fn identity_find(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, StoreError> {
        find(&self.transaction, issuer, subject).await
    }

    /// Says whom a provider means by a subject that is not known.
    pub async fn identity_put(&self, identity: &Identity) -> Result<(), StoreError> {
        let row = Model {
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            user_id: identity.user_id.to_string(),
            is_linked: identity.is_linked,
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an identity"))?;
        Ok(())
    }

    /// Its next token is of somebody who is not known. False where it was not there.
    pub async fn identity_delete(&self, issuer: &str, subject: &str) -> Result<bool, StoreError> {
        let key = (issuer.to_owned(), subject.to_owned());
        let deleted = Entity::delete_by_id(key).exec(&self.transaction).await;
        let deleted = deleted.map_err(StoreError::write("the end of an identity"))?;
        Ok(deleted.rows_affected == 1)
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    issuer: &str,
    subject: &str,
) -> Result<Option<Identity>, StoreError> {
    let row = Entity::find_by_id((issuer.to_owned(), subject.to_owned()))
        .one(connection)
        .await
        .map_err(StoreError::read("an identity"))?;
    row.map(from_row).transpose()
}

fn from_row(row: Model) -> Result<Identity, StoreError> {
    let place = Place {
        table: "identities",
        column: "user_id",
    };
    Ok(Identity {
        user_id: place.id(row.user_id)?,
        issuer: row.issuer,
        subject: row.subject,
        is_linked: row.is_linked,
    })
}
