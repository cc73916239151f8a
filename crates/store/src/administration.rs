//! Lists over all organizations, newest first, for the administrator of the server.

use alcove_domain::{Organization, OrganizationId, OrganizationState, Sandbox, SandboxState};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::entity::{organization, sandbox};
use crate::{Reader, StoreError};

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestFirst {
    pub created_at_ms: i64,
    pub id: String,
}

impl NewestFirst {
    fn before<C: sea_orm::ColumnTrait>(&self, created_at: C, id: C) -> Condition {
        let same = Condition::all()
            .add(created_at.eq(self.created_at_ms))
            .add(id.lt(self.id.as_str()));
        Condition::any()
            .add(created_at.lt(self.created_at_ms))
            .add(same)
    }
}

impl Reader {
    /// Sandboxes of every organization, or of one, that are in one of these states; in any where none is named.
    pub async fn sandbox_list_of_all(
        &self,
        organization: Option<&OrganizationId>,
        states: &[SandboxState],
        after: Option<&NewestFirst>,
        limit: u64,
    ) -> Result<Vec<Sandbox>, StoreError> {
        use sandbox::{Column, Entity};
        let mut wanted = Condition::all()
            // As the index has it.
            .add(Expr::cust("state <> 'destroyed'"))
            .add_option(after.map(|after| after.before(Column::CreatedAt, Column::Id)));
        if let Some(organization) = organization {
            wanted = wanted.add(Column::OrganizationId.eq(organization.as_str()));
        }
        if !states.is_empty() {
            wanted = wanted.add(Column::State.is_in(states.iter().map(|state| state.as_str())));
        }
        let rows = Entity::find()
            .filter(wanted)
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("sandboxes"))?;
        rows.into_iter()
            .map(crate::sandbox::from_row)
            .collect::<Result<_, _>>()
    }

    /// Organizations in this state at a time, or all.
    pub async fn organization_list_all(
        &self,
        state: Option<OrganizationState>,
        now: Timestamp,
        after: Option<&NewestFirst>,
        limit: u64,
    ) -> Result<Vec<Organization>, StoreError> {
        use organization::{Column, Entity};
        let is_suspended = Column::SuspendedAt.is_not_null().and(
            Column::SuspendedUntil
                .is_null()
                .or(Column::SuspendedUntil.gt(now.as_millisecond())),
        );
        let mut wanted = Condition::all()
            .add_option(after.map(|after| after.before(Column::CreatedAt, Column::Id)));
        if let Some(state) = state {
            let is_deleting = Column::ClosingSince.is_not_null();
            wanted = match state {
                OrganizationState::Deleting => wanted.add(is_deleting),
                OrganizationState::Suspended => wanted.add(is_deleting.not()).add(is_suspended),
                OrganizationState::Active => wanted.add(is_deleting.not()).add(is_suspended.not()),
            };
        }
        let rows = Entity::find()
            .filter(wanted)
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("organizations"))?;
        rows.into_iter()
            .map(crate::organization::from_row)
            .collect()
    }
}
