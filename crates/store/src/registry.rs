//! Registries, with their passwords as sealed bytes that only `alcove-control` can open.

use alcove_domain::{OrganizationId, Registry, RegistryId, RegistryUrl};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel,
    PaginatorTrait as _, QueryFilter, QueryOrder as _,
};

use crate::convert::Place;
use crate::entity::registry::{ActiveModel, Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// A registry and its sealed password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRegistry {
    pub registry: Registry,
    pub password: Vec<u8>,
}

impl Reader {
    pub async fn registry_find(
        &self,
        org: &OrganizationId,
        id: &RegistryId,
    ) -> Result<Option<SealedRegistry>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a registry"))?;
        row.map(from_row).transpose()
    }

    /// Whoever it belongs to.
    pub async fn registry_find_any(
        &self,
        id: &RegistryId,
    ) -> Result<Option<SealedRegistry>, StoreError> {
        find_any(&self.connection, id).await
    }

    /// Those of an organization, the oldest first.
    pub async fn registry_list(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<SealedRegistry>, StoreError> {
        let rows = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("registries"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    /// As [`Reader::registry_find_any`], within the transaction.
    pub async fn registry_find_any(
        &self,
        id: &RegistryId,
    ) -> Result<Option<SealedRegistry>, StoreError> {
        find_any(&self.transaction, id).await
    }

    pub async fn registry_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the number of registries"))
    }

    pub async fn registry_insert(&self, sealed: &SealedRegistry) -> Result<(), StoreError> {
        self.note_made("docker_registry", sealed.registry.id.as_str());
        Entity::insert(to_row(sealed))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a registry"))?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn registry_update(&self, sealed: &SealedRegistry) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(sealed))
            .filter(Column::Id.eq(sealed.registry.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a registry"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn registry_delete(
        &self,
        org: &OrganizationId,
        id: &RegistryId,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a registry"))?;
        Ok(result.rows_affected == 1)
    }

    /// No registry of the organization is the default one any more.
    pub async fn registry_clear_default(&self, org: &OrganizationId) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::IsDefault, Expr::value(false))
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::IsDefault.eq(true))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the default registry"))?;
        Ok(())
    }
}

async fn find_any(
    connection: &impl ConnectionTrait,
    id: &RegistryId,
) -> Result<Option<SealedRegistry>, StoreError> {
    let row = Entity::find_by_id(id.as_str())
        .one(connection)
        .await
        .map_err(StoreError::read("a registry"))?;
    row.map(from_row).transpose()
}

fn to_row(sealed: &SealedRegistry) -> ActiveModel {
    let registry = &sealed.registry;
    Model {
        id: registry.id.to_string(),
        organization_id: registry.organization_id.to_string(),
        name: registry.name.clone(),
        url: registry.url.to_string(),
        username: registry.username.clone(),
        password: hex::encode(&sealed.password),
        project: registry.project.clone(),
        is_default: registry.is_default,
        created_at: registry.created_at.as_millisecond(),
        updated_at: registry.updated_at.as_millisecond(),
    }
    .into_active_model()
    .reset_all()
}

fn from_row(row: Model) -> Result<SealedRegistry, StoreError> {
    let place = |column| Place {
        table: "registries",
        column,
    };
    let registry = Registry {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        name: row.name,
        url: RegistryUrl::parse(&row.url).map_err(|_| place("url").bad(row.url.clone()))?,
        username: row.username,
        project: row.project,
        is_default: row.is_default,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    };
    Ok(SealedRegistry {
        registry,
        password: hex::decode(&row.password).map_err(|_| place("password").bad("not hex"))?,
    })
}
