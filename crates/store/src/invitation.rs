//! Invitations into organizations.

use alcove_domain::{
    Access, Invitation, InvitationId, InvitationStatus, MemberRole, OrganizationId, RoleId,
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, SqlErr,
};

use crate::convert::{Place, json_list};
use crate::entity::invitation::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

const PENDING: &str = InvitationStatus::Pending.as_str();

impl Reader {
    pub async fn invitation_find(
        &self,
        id: &InvitationId,
    ) -> Result<Option<Invitation>, StoreError> {
        find(&self.connection, id).await
    }

    /// Those of an organization that are pending, their time up or not; the oldest first.
    pub async fn invitation_list_pending(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<Invitation>, StoreError> {
        pending(&self.connection, Column::OrganizationId, org.as_str()).await
    }

    /// Those to an address, in lower case, that are pending; the oldest first.
    pub async fn invitation_list_pending_to(
        &self,
        email: &str,
    ) -> Result<Vec<Invitation>, StoreError> {
        pending(&self.connection, Column::Email, email).await
    }
}

impl Tx {
    /// As [`Reader::invitation_find`], within the transaction.
    pub async fn invitation_find(
        &self,
        id: &InvitationId,
    ) -> Result<Option<Invitation>, StoreError> {
        find(&self.transaction, id).await
    }

    /// As [`Reader::invitation_list_pending`], within the transaction.
    pub async fn invitation_list_pending(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<Invitation>, StoreError> {
        pending(&self.transaction, Column::OrganizationId, org.as_str()).await
    }

    pub async fn invitation_count_pending(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::Status.eq(PENDING))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("invitations"))
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if the organization has a pending one to the same address.
    pub async fn invitation_insert(&self, invitation: &Invitation) -> Result<(), StoreError> {
        self.note_made("organization_invitation", invitation.id.as_str());
        Entity::insert(to_row(invitation).into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                // Ids are random: of the two unique things, only the address can be taken.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "an invitation",
                    source,
                },
            })?;
        Ok(())
    }

    pub async fn invitation_update(&self, invitation: &Invitation) -> Result<(), StoreError> {
        Entity::update_many()
            .set(to_row(invitation).into_active_model().reset_all())
            .filter(Column::Id.eq(invitation.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("an invitation"))?;
        Ok(())
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    id: &InvitationId,
) -> Result<Option<Invitation>, StoreError> {
    let row = Entity::find_by_id(id.as_str())
        .one(connection)
        .await
        .map_err(StoreError::read("an invitation"))?;
    row.map(from_row).transpose()
}

async fn pending(
    connection: &impl ConnectionTrait,
    column: Column,
    value: &str,
) -> Result<Vec<Invitation>, StoreError> {
    let rows = Entity::find()
        .filter(column.eq(value))
        .filter(Column::Status.eq(PENDING))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .all(connection)
        .await
        .map_err(StoreError::read("invitations"))?;
    rows.into_iter().map(from_row).collect()
}

fn to_row(invitation: &Invitation) -> Model {
    let access = &invitation.access;
    let roles: Vec<String> = access.assigned.iter().map(RoleId::to_string).collect();
    Model {
        id: invitation.id.to_string(),
        organization_id: invitation.organization_id.to_string(),
        email: invitation.email.clone(),
        invited_by: invitation.invited_by.clone(),
        role: access.role.as_str().to_owned(),
        role_ids: json_list(&roles),
        status: invitation.status.as_str().to_owned(),
        expires_at: invitation.expires_at.as_millisecond(),
        created_at: invitation.created_at.as_millisecond(),
        updated_at: invitation.updated_at.as_millisecond(),
    }
}

fn from_row(row: Model) -> Result<Invitation, StoreError> {
    let place = |column| Place {
        table: "invitations",
        column,
    };
    let roles = place("role_ids").list(&row.role_ids)?;
    let assigned = roles.into_iter().map(|id| place("role_ids").id(id));
    Ok(Invitation {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        email: row.email,
        invited_by: row.invited_by,
        access: Access {
            role: place("role").word(&row.role, MemberRole::parse)?,
            assigned: assigned.collect::<Result<_, _>>()?,
        },
        status: place("status").word(&row.status, InvitationStatus::parse)?,
        expires_at: place("expires_at").time(row.expires_at)?,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    })
}
