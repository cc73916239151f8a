//! Members of organizations, with the roles that they are given.

use std::collections::HashMap;

use alcove_domain::{Access, Member, MemberRole, OrganizationId, RoleId, UserId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::member::{Column, Entity, Model};
use crate::entity::member_role;
use crate::{Reader, StoreError, Tx};

impl Reader {
    pub async fn member_find(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<Option<Member>, StoreError> {
        find(&self.connection, org, user).await
    }

    /// Members of an organization, the oldest first.
    pub async fn member_list(&self, org: &OrganizationId) -> Result<Vec<Member>, StoreError> {
        list(&self.connection, Column::OrganizationId, org.as_str()).await
    }

    /// Memberships of a user, the oldest first.
    pub async fn member_list_of_user(&self, user: &UserId) -> Result<Vec<Member>, StoreError> {
        list(&self.connection, Column::UserId, user.as_str()).await
    }
}

impl Tx {
    /// As [`Reader::member_find`], within the transaction.
    pub async fn member_find(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<Option<Member>, StoreError> {
        find(&self.transaction, org, user).await
    }

    /// How many owners an organization has.
    pub async fn member_count_owners(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::Role.eq(MemberRole::Owner.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("members"))
    }

    /// How many members are given a role.
    pub async fn member_count_with(&self, role: &RoleId) -> Result<u64, StoreError> {
        member_role::Entity::find()
            .filter(member_role::Column::RoleId.eq(role.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("roles of members"))
    }

    /// Writes a membership, in place of the one that there may be.
    pub async fn member_put(&self, member: &Member) -> Result<(), StoreError> {
        let failed = StoreError::write;
        let (org, user) = (&member.organization_id, &member.user_id);
        let row = Model {
            organization_id: org.to_string(),
            user_id: user.to_string(),
            role: member.access.role.as_str().to_owned(),
            created_at: member.created_at.as_millisecond(),
            updated_at: member.updated_at.as_millisecond(),
        };
        let columns = [Column::OrganizationId, Column::UserId];
        let update = [Column::Role, Column::UpdatedAt];
        Entity::insert(row.into_active_model().reset_all())
            .on_conflict(
                OnConflict::columns(columns)
                    .update_columns(update)
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(failed("a member"))?;
        self.member_clear_roles(org, user).await?;
        let rows = member.access.assigned.iter().map(|role| {
            let row = member_role::Model {
                organization_id: org.to_string(),
                user_id: user.to_string(),
                role_id: role.to_string(),
            };
            row.into_active_model()
        });
        if !member.access.assigned.is_empty() {
            member_role::Entity::insert_many(rows)
                .exec_without_returning(&self.transaction)
                .await
                .map_err(failed("roles of a member"))?;
        }
        Ok(())
    }

    async fn member_clear_roles(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<(), StoreError> {
        member_role::Entity::delete_many()
            .filter(member_role::Column::OrganizationId.eq(org.as_str()))
            .filter(member_role::Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("roles of a member"))?;
        Ok(())
    }

    /// False if the user was no member.
    pub async fn member_delete(
        &self,
        org: &OrganizationId,
        user: &UserId,
    ) -> Result<bool, StoreError> {
        self.member_clear_roles(org, user).await?;
        let result = Entity::delete_many()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::UserId.eq(user.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a member"))?;
        Ok(result.rows_affected == 1)
    }
}

async fn find(
    connection: &impl ConnectionTrait,
    org: &OrganizationId,
    user: &UserId,
) -> Result<Option<Member>, StoreError> {
    let row = Entity::find()
        .filter(Column::OrganizationId.eq(org.as_str()))
        .filter(Column::UserId.eq(user.as_str()))
        .one(connection)
        .await
        .map_err(StoreError::read("a member"))?;
    let Some(row) = row else { return Ok(None) };
    let roles = member_role::Entity::find()
        .filter(member_role::Column::OrganizationId.eq(org.as_str()))
        .filter(member_role::Column::UserId.eq(user.as_str()))
        .order_by_asc(member_role::Column::RoleId)
        .all(connection)
        .await
        .map_err(StoreError::read("roles of a member"))?;
    from_row(row, roles).map(Some)
}

async fn list(
    connection: &impl ConnectionTrait,
    column: Column,
    value: &str,
) -> Result<Vec<Member>, StoreError> {
    let rows = Entity::find()
        .filter(column.eq(value))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::UserId)
        .order_by_asc(Column::OrganizationId)
        .all(connection)
        .await
        .map_err(StoreError::read("members"))?;
    let is_theirs = match column {
        Column::UserId => member_role::Column::UserId.eq(value),
        _ => member_role::Column::OrganizationId.eq(value),
    };
    let roles = member_role::Entity::find()
        .filter(Condition::all().add(is_theirs))
        .order_by_asc(member_role::Column::RoleId)
        .all(connection)
        .await
        .map_err(StoreError::read("roles of members"))?;
    let mut by_member: HashMap<_, Vec<member_role::Model>> = HashMap::new();
    for role in roles {
        let member = (role.organization_id.clone(), role.user_id.clone());
        by_member.entry(member).or_default().push(role);
    }
    rows.into_iter()
        .map(|row| {
            let member = (row.organization_id.clone(), row.user_id.clone());
            from_row(row, by_member.remove(&member).unwrap_or_default())
        })
        .collect()
}

fn from_row(row: Model, roles: Vec<member_role::Model>) -> Result<Member, StoreError> {
    let place = |column| Place {
        table: "members",
        column,
    };
    let role_place = Place {
        table: "member_roles",
        column: "role_id",
    };
    let assigned = roles.into_iter().map(|role| role_place.id(role.role_id));
    Ok(Member {
        organization_id: place("organization_id").id(row.organization_id)?,
        user_id: place("user_id").id(row.user_id)?,
        access: Access {
            role: place("role").word(&row.role, MemberRole::parse)?,
            assigned: assigned.collect::<Result<_, _>>()?,
        },
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    })
}
