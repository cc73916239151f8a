//! Authenticators of users, and the codes for who has lost one.

use alcove_domain::{RecoveryHash, SealedTotp, UserId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
};

use crate::convert::Place;
use crate::entity::{recovery_code, totp_secret};
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn totp_find(&self, user: &UserId) -> Result<Option<SealedTotp>, StoreError> {
        find(&self.connection, user).await
    }
}

impl Tx {
    /// As [`Reader::totp_find`], within the transaction.
    pub async fn totp_find(&self, user: &UserId) -> Result<Option<SealedTotp>, StoreError> {
        find(&self.transaction, user).await
    }

    /// Writes a user's authenticator in place of the one that there may be.
    pub async fn totp_put(&self, user: &UserId, totp: &SealedTotp) -> Result<(), StoreError> {
        use totp_secret::Column;
        let row = totp_secret::Model {
            user_id: user.to_string(),
            sealed: hex::encode(&totp.sealed),
            last_step: totp.last_step,
            is_confirmed: totp.is_confirmed,
        };
        let mut anew = OnConflict::column(Column::UserId);
        anew.update_columns([Column::Sealed, Column::LastStep, Column::IsConfirmed]);
        totp_secret::Entity::insert(row.into_active_model())
            .on_conflict(anew)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an authenticator"))?;
        Ok(())
    }

    /// Removes a user's authenticator, with the codes that stand for it.
    pub async fn totp_delete(&self, user: &UserId) -> Result<(), StoreError> {
        totp_secret::Entity::delete_by_id(user.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an authenticator"))?;
        self.recovery_code_replace(user, &[]).await
    }

    /// Gives a user these codes in place of those that there may be.
    pub async fn recovery_code_replace(
        &self,
        user: &UserId,
        codes: &[RecoveryHash],
    ) -> Result<(), StoreError> {
        recovery_code::Entity::delete_many()
            .filter(recovery_code::Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("recovery codes"))?;
        for code in codes {
            let row = recovery_code::Model {
                user_id: user.to_string(),
                hash: hex::encode(code.0),
            };
            recovery_code::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.transaction)
                .await
                .map_err(StoreError::write("recovery codes"))?;
        }
        Ok(())
    }

    /// Uses a code up. Whether the user had it.
    pub async fn recovery_code_take(
        &self,
        user: &UserId,
        code: RecoveryHash,
    ) -> Result<bool, StoreError> {
        let result = recovery_code::Entity::delete_many()
            .filter(recovery_code::Column::UserId.eq(user.as_str()))
            .filter(recovery_code::Column::Hash.eq(hex::encode(code.0)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("recovery codes"))?;
        Ok(result.rows_affected > 0)
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    user: &UserId,
) -> Result<Option<SealedTotp>, StoreError> {
    let row = totp_secret::Entity::find_by_id(user.as_str())
        .one(connection)
        .await
        .map_err(StoreError::read("an authenticator"))?;
    let place = Place {
        table: "totp_secrets",
        column: "sealed",
    };
    row.map(|row| {
        Ok(SealedTotp {
            sealed: hex::decode(&row.sealed).map_err(|_| place.bad("not hex"))?,
            last_step: row.last_step,
            is_confirmed: row.is_confirmed,
        })
    })
    .transpose()
}
