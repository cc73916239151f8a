//! Users as identity providers know them.

use alcove_domain::UserId;
use sea_orm::{ConnectionTrait, EntityTrait as _, IntoActiveModel as _};

use crate::convert::Place;
use crate::entity::identity::{Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Whom a provider means by a subject.
    pub async fn identity_find(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<UserId>, StoreError> {
        find(&self.connection, issuer, subject).await
    }
}

impl Tx {
    /// As [`Reader::identity_find`], within the transaction.
    pub async fn identity_find(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<UserId>, StoreError> {
        find(&self.transaction, issuer, subject).await
    }

    /// Says whom a provider means by a subject that is not known.
    pub async fn identity_put(
        &self,
        issuer: &str,
        subject: &str,
        user: &UserId,
    ) -> Result<(), StoreError> {
        let row = Model {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            user_id: user.to_string(),
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an identity"))?;
        Ok(())
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    issuer: &str,
    subject: &str,
) -> Result<Option<UserId>, StoreError> {
    let row = Entity::find_by_id((issuer.to_owned(), subject.to_owned()))
        .one(connection)
        .await
        .map_err(StoreError::read("an identity"))?;
    let place = Place {
        table: "identities",
        column: "user_id",
    };
    row.map(|row| place.id(row.user_id)).transpose()
}
