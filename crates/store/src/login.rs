//! Passwords, links that set one, and failures to sign in.

use alcove_domain::{Attempts, LinkHash, PasswordLink, User, UserId};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, sea_query::OnConflict,
};

use crate::convert::Place;
use crate::entity::{login_attempt, password, password_link, user};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// What a user signs in with, as argon2 writes it.
    pub async fn password_find(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        let row = password::Entity::find_by_id(user.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a password"))?;
        Ok(row.map(|row| row.hash))
    }

    /// Whether anybody has a password.
    pub async fn password_is_set(&self) -> Result<bool, StoreError> {
        let count = password::Entity::find()
            .count(&self.connection)
            .await
            .map_err(StoreError::read("passwords"))?;
        Ok(count > 0)
    }

    /// Whom a name at the door means: the user of that id, else of that address where it is known to be the user's. Asks
    /// the same of the database for each name.
    pub async fn user_find_by_login(&self, name: &str) -> Result<Option<User>, StoreError> {
        let by_email = Condition::all()
            .add(user::Column::Email.eq(name.to_lowercase()))
            .add(user::Column::Email.ne(""))
            .add(user::Column::IsEmailVerified.eq(true));
        let by_name = Condition::any()
            .add(user::Column::Id.eq(name))
            .add(by_email);
        // An address is no id, and is known to be one user's at most.
        let row = user::Entity::find()
            .filter(by_name)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a user"))?;
        row.map(crate::user::from_row).transpose()
    }

    pub async fn password_link_find(
        &self,
        hash: LinkHash,
    ) -> Result<Option<PasswordLink>, StoreError> {
        let row = password_link::Entity::find()
            .filter(password_link::Column::Hash.eq(hex::encode(hash.0)))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a link that sets a password"))?;
        let place = |column| Place {
            table: "password_links",
            column,
        };
        row.map(|row| {
            Ok(PasswordLink {
                hash,
                user_id: place("user_id").id(row.user_id)?,
                expires_at: place("expires_at").time(row.expires_at)?,
                removes_totp: row.removes_totp,
            })
        })
        .transpose()
    }
}

impl Tx {
    /// Sets a user's password in place of the one that there may be.
    pub async fn password_put(
        &self,
        user: &UserId,
        hash: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = password::Model {
            user_id: user.to_string(),
            hash: hash.to_owned(),
            changed_at: at.as_millisecond(),
        };
        let mut anew = OnConflict::column(password::Column::UserId);
        anew.update_columns([password::Column::Hash, password::Column::ChangedAt]);
        password::Entity::insert(row.into_active_model())
            .on_conflict(anew)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a password"))?;
        Ok(())
    }

    /// As [`Reader::password_find`], within the transaction.
    pub async fn password_find(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        let row = password::Entity::find_by_id(user.as_str())
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a password"))?;
        Ok(row.map(|row| row.hash))
    }

    /// Gives a user a link in place of the one that there may be.
    pub async fn password_link_put(&self, link: &PasswordLink) -> Result<(), StoreError> {
        let row = password_link::Model {
            user_id: link.user_id.to_string(),
            hash: hex::encode(link.hash.0),
            expires_at: link.expires_at.as_millisecond(),
            removes_totp: link.removes_totp,
        };
        let mut anew = OnConflict::column(password_link::Column::UserId);
        anew.update_columns([
            password_link::Column::Hash,
            password_link::Column::ExpiresAt,
            password_link::Column::RemovesTotp,
        ]);
        password_link::Entity::insert(row.into_active_model())
            .on_conflict(anew)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a link that sets a password"))?;
        Ok(())
    }

    /// Ends a link. Whether it was there.
    pub async fn password_link_delete(&self, hash: LinkHash) -> Result<bool, StoreError> {
        let result = password_link::Entity::delete_many()
            .filter(password_link::Column::Hash.eq(hex::encode(hash.0)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a link that sets a password"))?;
        Ok(result.rows_affected > 0)
    }

    /// Ends the link of a user, where there is one.
    pub async fn password_link_delete_of(&self, user: &UserId) -> Result<(), StoreError> {
        password_link::Entity::delete_by_id(user.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a link that sets a password"))?;
        Ok(())
    }

    pub async fn login_attempts_find(&self, bucket: &str) -> Result<Option<Attempts>, StoreError> {
        let row = login_attempt::Entity::find_by_id(bucket)
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("failures to sign in"))?;
        let place = |column| Place {
            table: "login_attempts",
            column,
        };
        row.map(|row| {
            Ok(Attempts {
                failures: place("failures").small(row.failures)?,
                last_at: place("last_at").time(row.last_at)?,
            })
        })
        .transpose()
    }

    pub async fn login_attempts_put(
        &self,
        bucket: &str,
        attempts: &Attempts,
    ) -> Result<(), StoreError> {
        let row = login_attempt::Model {
            bucket: bucket.to_owned(),
            failures: attempts.failures.into(),
            last_at: attempts.last_at.as_millisecond(),
        };
        let mut anew = OnConflict::column(login_attempt::Column::Bucket);
        anew.update_columns([
            login_attempt::Column::Failures,
            login_attempt::Column::LastAt,
        ]);
        login_attempt::Entity::insert(row.into_active_model())
            .on_conflict(anew)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("failures to sign in"))?;
        Ok(())
    }

    pub async fn login_attempts_delete(&self, bucket: &str) -> Result<(), StoreError> {
        login_attempt::Entity::delete_by_id(bucket)
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("failures to sign in"))?;
        Ok(())
    }
}
