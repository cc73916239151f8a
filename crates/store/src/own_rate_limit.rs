//! Limits of requests that organizations have of their own.

use alcove_domain::OrganizationId;
use alcove_domain::rate_limit::{OwnRateLimit, OwnRateLimits};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _};

use crate::convert::Place;
use crate::entity::organization::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// Count and seconds, as the domain orders them.
const COLUMNS: [(Column, Column); 3] = [
    (Column::AuthenticatedCount, Column::AuthenticatedSeconds),
    (Column::CreateCount, Column::CreateSeconds),
    (Column::LifecycleCount, Column::LifecycleSeconds),
];

impl Reader {
    /// Of every organization that has any.
    pub async fn own_rate_limit_list(
        &self,
    ) -> Result<Vec<(OrganizationId, OwnRateLimits)>, StoreError> {
        let has_any = COLUMNS
            .iter()
            .flat_map(|(count, seconds)| [count, seconds])
            .fold(Condition::any(), |all, column| {
                all.add(column.is_not_null())
            });
        let rows = Entity::find()
            .filter(has_any)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("limits of organizations"))?;
        let place = Place {
            table: "organizations",
            column: "id",
        };
        rows.into_iter()
            .map(|row| {
                let limits = limits(&row)?;
                Ok((place.id(row.id)?, limits))
            })
            .collect()
    }
}

impl Tx {
    /// None where there is no such organization.
    pub async fn own_rate_limit_get(
        &self,
        org: &OrganizationId,
    ) -> Result<Option<OwnRateLimits>, StoreError> {
        let row = Entity::find_by_id(org.as_str())
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("limits of an organization"))?;
        row.as_ref().map(limits).transpose()
    }

    pub async fn own_rate_limit_put(
        &self,
        org: &OrganizationId,
        limits: &OwnRateLimits,
    ) -> Result<(), StoreError> {
        let mut update = Entity::update_many().filter(Column::Id.eq(org.as_str()));
        for ((count, seconds), own) in COLUMNS.into_iter().zip(limits) {
            update = update
                .col_expr(count, Expr::value(own.count.map(i64::from)))
                .col_expr(seconds, Expr::value(own.seconds.map(i64::from)));
        }
        update
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("limits of an organization"))?;
        Ok(())
    }
}

fn limits(row: &Model) -> Result<OwnRateLimits, StoreError> {
    let place = Place {
        table: "organizations",
        column: "a limit of requests",
    };
    let own = |count: Option<i64>, seconds: Option<i64>| {
        let number = |value: Option<i64>| value.map(|value| place.small(value)).transpose();
        Ok(OwnRateLimit {
            count: number(count)?,
            seconds: number(seconds)?,
        })
    };
    Ok([
        own(row.authenticated_count, row.authenticated_seconds)?,
        own(row.create_count, row.create_seconds)?,
        own(row.lifecycle_count, row.lifecycle_seconds)?,
    ])
}
