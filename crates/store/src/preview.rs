//! Signed preview URLs that were ended before their time. The URLs themselves are kept nowhere.

use jiff::Timestamp;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};

use crate::convert::Place;
use crate::entity::ended_preview::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Those that would still be good, with the time of their end.
    pub async fn previews_ended(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let rows = Entity::find()
            .filter(Column::ExpiresAt.gt(now.as_millisecond()))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("ended preview URLs"))?;
        let place = Place {
            table: "ended_previews",
            column: "expires_at",
        };
        rows.into_iter()
            .map(|row| Ok((row.id, place.time(row.expires_at)?)))
            .collect()
    }
}

impl Tx {
    /// Notes that a URL has ended, and forgets those that would have ended by themselves. Safe to repeat.
    pub async fn preview_end(
        &self,
        id: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let failed = StoreError::write("the end of a preview URL");
        let row = Model {
            id: id.to_owned(),
            expires_at: expires_at.as_millisecond(),
        };
        Entity::insert(row.into_active_model())
            .on_conflict(
                OnConflict::column(Column::Id)
                    .update_column(Column::ExpiresAt)
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(failed)?;
        Entity::delete_many()
            .filter(Column::ExpiresAt.lte(now.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("old ends of preview URLs"))?;
        Ok(())
    }
}
