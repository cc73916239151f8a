//! Users.

use alcove_domain::{User, UserId};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, SqlErr,
};

use crate::convert::Place;
use crate::entity::user::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn user_find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a user"))?;
        row.map(from_row).transpose()
    }

    /// The first administrator.
    pub async fn user_find_admin(&self) -> Result<Option<User>, StoreError> {
        let row = Entity::find()
            .filter(Column::IsAdmin.eq(true))
            .order_by_asc(Column::CreatedAt)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the administrator"))?;
        row.map(from_row).transpose()
    }

    /// All users, the oldest first.
    pub async fn user_list(&self) -> Result<Vec<User>, StoreError> {
        let rows = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("users"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Those with these ids, as far as they are there, in no order.
    pub async fn user_list_in(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let rows = Entity::find()
            .filter(Column::Id.is_in(ids.iter().map(UserId::as_str)))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("users"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Users whose address this is, in lower case, whether anybody trusts it or not.
    pub async fn user_list_by_email(&self, email: &str) -> Result<Vec<User>, StoreError> {
        list_by_email(&self.connection, email).await
    }
}

impl Tx {
    /// As [`Reader::user_find`], within the transaction.
    pub async fn user_find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a user"))?;
        row.map(from_row).transpose()
    }

    /// Writes what a user is called anew: name and address.
    pub async fn user_update(&self, user: &User) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::Name, Expr::value(user.name.clone()))
            .col_expr(Column::Email, Expr::value(user.email.clone()))
            .col_expr(Column::IsEmailVerified, Expr::value(user.is_email_verified))
            .filter(Column::Id.eq(user.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a user"))?;
        Ok(())
    }

    /// As [`Reader::user_list_by_email`], within the transaction.
    pub async fn user_list_by_email(&self, email: &str) -> Result<Vec<User>, StoreError> {
        list_by_email(&self.transaction, email).await
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if there is a user with this id.
    pub async fn user_insert(&self, user: &User) -> Result<(), StoreError> {
        self.note_made("user", user.id.as_str());
        let row = Model {
            id: user.id.to_string(),
            name: user.name.clone(),
            email: user.email.clone(),
            is_admin: user.is_admin,
            is_email_verified: user.is_email_verified,
            created_at: user.created_at.as_millisecond(),
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a user",
                    source,
                },
            })?;
        Ok(())
    }
}

async fn list_by_email(
    connection: &impl ConnectionTrait,
    email: &str,
) -> Result<Vec<User>, StoreError> {
    let rows = Entity::find()
        .filter(Column::Email.eq(email))
        .order_by_asc(Column::CreatedAt)
        .all(connection)
        .await
        .map_err(StoreError::read("users"))?;
    rows.into_iter().map(from_row).collect()
}

pub(crate) fn from_row(row: Model) -> Result<User, StoreError> {
    let place = |column| Place {
        table: "users",
        column,
    };
    Ok(User {
        id: place("id").id(row.id)?,
        name: row.name,
        email: row.email,
        is_email_verified: row.is_email_verified,
        is_admin: row.is_admin,
        created_at: place("created_at").time(row.created_at)?,
    })
}
