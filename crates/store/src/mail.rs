//! Mail that waits to be sent.

use alcove_domain::{MailId, MailKind, QueuedMail};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::mail::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// The mail that is to be tried first, due or not.
    pub async fn mail_next(&self) -> Result<Option<QueuedMail>, StoreError> {
        let row = Entity::find()
            .order_by_asc(Column::NextAt)
            .order_by_asc(Column::Id)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the next mail"))?;
        row.map(from_row).transpose()
    }
}

impl Tx {
    pub async fn mail_insert(&self, mail: &QueuedMail) -> Result<(), StoreError> {
        let row = Model {
            id: mail.id.to_string(),
            organization_id: mail.organization_id.to_string(),
            kind: mail.kind.as_str().to_owned(),
            about: mail.about.clone(),
            recipient: mail.recipient.clone(),
            failures: mail.failures.into(),
            created_at: mail.created_at.as_millisecond(),
            next_at: mail.next_at.as_millisecond(),
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a mail"))?;
        Ok(())
    }

    /// Writes down when a mail is tried again. One that is gone stays so.
    pub async fn mail_again(&self, mail: &QueuedMail) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::Failures, Expr::value(i64::from(mail.failures)))
            .col_expr(Column::NextAt, Expr::value(mail.next_at.as_millisecond()))
            .filter(Column::Id.eq(mail.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a mail"))?;
        Ok(())
    }

    pub async fn mail_delete(&self, id: &MailId) -> Result<(), StoreError> {
        Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the end of a mail"))?;
        Ok(())
    }
}

fn from_row(row: Model) -> Result<QueuedMail, StoreError> {
    let place = |column| Place {
        table: "mails",
        column,
    };
    Ok(QueuedMail {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        kind: place("kind").word(&row.kind, MailKind::parse)?,
        about: row.about,
        recipient: row.recipient,
        failures: place("failures").small(row.failures)?,
        created_at: place("created_at").time(row.created_at)?,
        next_at: place("next_at").time(row.next_at)?,
    })
}
