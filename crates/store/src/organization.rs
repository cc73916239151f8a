//! Organizations.

use alcove_domain::{Organization, OrganizationId, Suspension, UserId};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::organization::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn organization_find(
        &self,
        id: &OrganizationId,
    ) -> Result<Option<Organization>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .one(&self.connection)
            .await
            .map_err(StoreError::read("an organization"))?;
        row.map(from_row).transpose()
    }

    /// Organizations whose sandboxes' traffic is marked.
    pub async fn organization_list_limited(&self) -> Result<Vec<OrganizationId>, StoreError> {
        let rows = Entity::find()
            .filter(Column::IsEgressLimited.eq(true))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("organizations"))?;
        rows.into_iter().map(|row| Ok(from_row(row)?.id)).collect()
    }

    pub async fn organization_find_personal(
        &self,
        owner: &UserId,
    ) -> Result<Option<Organization>, StoreError> {
        let row = Entity::find()
            .filter(Column::CreatedBy.eq(owner.as_str()))
            .filter(Column::IsPersonal.eq(true))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a personal organization"))?;
        row.map(from_row).transpose()
    }

    /// Those with these ids, as far as they are there, the oldest first.
    pub async fn organization_list_in(
        &self,
        ids: &[OrganizationId],
    ) -> Result<Vec<Organization>, StoreError> {
        let rows = Entity::find()
            .filter(Column::Id.is_in(ids.iter().map(OrganizationId::as_str)))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("organizations"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Those that are suspended or being deleted.
    pub async fn organization_list_barred(&self) -> Result<Vec<Organization>, StoreError> {
        let is_barred = Condition::any()
            .add(Column::SuspendedAt.is_not_null())
            .add(Column::ClosingSince.is_not_null());
        let rows = Entity::find()
            .filter(is_barred)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("organizations"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    pub async fn organization_insert(&self, org: &Organization) -> Result<(), StoreError> {
        self.note_made("organization", org.id.as_str());
        let suspension = org.suspension.as_ref();
        let row = Model {
            id: org.id.to_string(),
            name: org.name.clone(),
            created_by: org.created_by.to_string(),
            is_personal: org.is_personal,
            created_at: org.created_at.as_millisecond(),
            volume_quota: None,
            is_egress_limited: org.is_egress_limited,
            suspended_at: suspension.map(|suspension| suspension.since.as_millisecond()),
            suspension_reason: suspension.and_then(|suspension| suspension.reason.clone()),
            suspended_until: suspension
                .and_then(|suspension| suspension.until)
                .map(Timestamp::as_millisecond),
            suspension_grace_hours: suspension.map(|suspension| suspension.grace_hours.into()),
            closing_since: org.closing_since.map(Timestamp::as_millisecond),
            authenticated_count: None,
            authenticated_seconds: None,
            create_count: None,
            create_seconds: None,
            lifecycle_count: None,
            lifecycle_seconds: None,
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(())
    }

    /// Whether what an organization's sandboxes send is marked. False where there is no such organization.
    pub async fn organization_limit_egress(
        &self,
        org: &OrganizationId,
        is_limited: bool,
    ) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .col_expr(Column::IsEgressLimited, Expr::value(is_limited))
            .filter(Column::Id.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(result.rows_affected == 1)
    }

    /// How many organizations a user has made that are no personal ones and are still there.
    pub async fn organization_count_made_by(&self, user: &UserId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::CreatedBy.eq(user.as_str()))
            .filter(Column::IsPersonal.eq(false))
            .filter(Column::ClosingSince.is_null())
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("organizations"))
    }

    /// Suspends an organization, or lifts that. False where there is no such organization.
    pub async fn organization_suspend(
        &self,
        org: &OrganizationId,
        suspension: Option<&Suspension>,
    ) -> Result<bool, StoreError> {
        let at = |at: Timestamp| at.as_millisecond();
        let result = Entity::update_many()
            .col_expr(
                Column::SuspendedAt,
                Expr::value(suspension.map(|suspension| at(suspension.since))),
            )
            .col_expr(
                Column::SuspensionReason,
                Expr::value(suspension.and_then(|suspension| suspension.reason.clone())),
            )
            .col_expr(
                Column::SuspendedUntil,
                Expr::value(suspension.and_then(|suspension| suspension.until.map(at))),
            )
            .col_expr(
                Column::SuspensionGraceHours,
                Expr::value(suspension.map(|suspension| i64::from(suspension.grace_hours))),
            )
            .filter(Column::Id.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(result.rows_affected == 1)
    }

    /// Writes down that an organization is being deleted. False where there is none, or it is already.
    pub async fn organization_close(
        &self,
        org: &OrganizationId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .col_expr(Column::ClosingSince, Expr::value(at.as_millisecond()))
            .filter(Column::Id.eq(org.as_str()))
            .filter(Column::ClosingSince.is_null())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an organization"))?;
        Ok(result.rows_affected == 1)
    }

    /// Makes sure that there is such an organization and that it is not being deleted: what is written for it in this
    /// transaction is found by whoever deletes it.
    ///
    /// # Errors
    /// [`StoreError::OrganizationClosed`] if it is not so.
    pub async fn organization_hold(&self, org: &OrganizationId) -> Result<(), StoreError> {
        let count = Entity::find_by_id(org.as_str())
            .filter(Column::ClosingSince.is_null())
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("an organization"))?;
        if count == 1 {
            Ok(())
        } else {
            Err(StoreError::OrganizationClosed)
        }
    }
}

pub(crate) fn from_row(row: Model) -> Result<Organization, StoreError> {
    let place = |column| Place {
        table: "organizations",
        column,
    };
    let suspension = row
        .suspended_at
        .map(|since| {
            let hours = row.suspension_grace_hours.unwrap_or_default();
            Ok(Suspension {
                since: place("suspended_at").time(since)?,
                reason: row.suspension_reason,
                until: place("suspended_until").time_option(row.suspended_until)?,
                grace_hours: place("suspension_grace_hours").small(hours)?,
            })
        })
        .transpose()?;
    Ok(Organization {
        id: place("id").id(row.id)?,
        name: row.name,
        created_by: place("created_by").id(row.created_by)?,
        is_personal: row.is_personal,
        is_egress_limited: row.is_egress_limited,
        suspension,
        closing_since: place("closing_since").time_option(row.closing_since)?,
        created_at: place("created_at").time(row.created_at)?,
    })
}
