//! Roles that organizations have of their own.

use alcove_domain::{OrganizationId, Role, RoleId};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, SqlErr,
};

use crate::api_key::{permissions, words};
use crate::convert::Place;
use crate::entity::role::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// The oldest first.
    pub async fn role_list(&self, org: &OrganizationId) -> Result<Vec<Role>, StoreError> {
        list(&self.connection, org).await
    }
}

impl Tx {
    /// As [`Reader::role_list`], within the transaction.
    pub async fn role_list(&self, org: &OrganizationId) -> Result<Vec<Role>, StoreError> {
        list(&self.transaction, org).await
    }

    pub async fn role_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("roles"))
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if the organization has a role of that name.
    pub async fn role_insert(&self, org: &OrganizationId, role: &Role) -> Result<(), StoreError> {
        self.note_made("organization_role", role.id.as_str());
        Entity::insert(to_row(org, role).into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(unwritten)?;
        Ok(())
    }

    /// Writes name, description and permissions. False if the organization has no such role.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if the organization has another role of that name.
    pub async fn role_update(&self, org: &OrganizationId, role: &Role) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(org, role).into_active_model().reset_all())
            .filter(Column::Id.eq(role.id.as_str()))
            .filter(Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(unwritten)?;
        Ok(result.rows_affected == 1)
    }

    /// False if the organization has no such role.
    pub async fn role_delete(&self, org: &OrganizationId, id: &RoleId) -> Result<bool, StoreError> {
        let result = Entity::delete_many()
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a role"))?;
        Ok(result.rows_affected == 1)
    }
}

async fn list(
    connection: &impl ConnectionTrait,
    org: &OrganizationId,
) -> Result<Vec<Role>, StoreError> {
    let rows = Entity::find()
        .filter(Column::OrganizationId.eq(org.as_str()))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .all(connection)
        .await
        .map_err(StoreError::read("roles"))?;
    rows.into_iter().map(from_row).collect()
}

fn unwritten(source: sea_orm::DbErr) -> StoreError {
    match source.sql_err() {
        // Ids are random: of the two unique things, only the name can be taken.
        Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
        _ => StoreError::Write {
            what: "a role",
            source,
        },
    }
}

fn to_row(org: &OrganizationId, role: &Role) -> Model {
    Model {
        id: role.id.to_string(),
        organization_id: org.to_string(),
        name: role.name.clone(),
        description: role.description.clone(),
        permissions: words(&role.permissions),
        created_at: role.created_at.as_millisecond(),
        updated_at: role.updated_at.as_millisecond(),
    }
}

fn from_row(row: Model) -> Result<Role, StoreError> {
    let place = |column| Place {
        table: "roles",
        column,
    };
    Ok(Role {
        id: place("id").id(row.id)?,
        organization_id: Some(place("organization_id").id(row.organization_id)?),
        name: row.name,
        description: row.description,
        permissions: permissions(place("permissions"), &row.permissions)?,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    })
}
