//! Warm pools that organizations have asked for.

use alcove_domain::{OrganizationId, Resources, WarmPool, WarmPoolId};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait as _,
    QueryFilter, QueryOrder as _, SqlErr,
};

use crate::convert::Place;
use crate::entity::warm_pool::{ActiveModel, Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Those of all organizations, the oldest first.
    pub async fn warm_pool_list_all(&self) -> Result<Vec<WarmPool>, StoreError> {
        let rows = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("warm pools"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    pub async fn warm_pool_find(
        &self,
        org: &OrganizationId,
        id: &WarmPoolId,
    ) -> Result<Option<WarmPool>, StoreError> {
        let row = Entity::find_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("a warm pool"))?;
        row.map(from_row).transpose()
    }

    pub async fn warm_pool_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the number of warm pools"))
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if the organization has one of this snapshot in this region.
    pub async fn warm_pool_insert(&self, pool: &WarmPool) -> Result<(), StoreError> {
        self.note_made("warm_pool", pool.id.as_str());
        Entity::insert(to_row(pool))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a warm pool",
                    source,
                },
            })?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn warm_pool_update(&self, pool: &WarmPool) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(pool))
            .filter(Column::Id.eq(pool.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a warm pool"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn warm_pool_delete(
        &self,
        org: &OrganizationId,
        id: &WarmPoolId,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .filter(Column::OrganizationId.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a warm pool"))?;
        Ok(result.rows_affected == 1)
    }
}

fn to_row(pool: &WarmPool) -> ActiveModel {
    Model {
        id: pool.id.to_string(),
        organization_id: pool.organization_id.to_string(),
        snapshot: pool.snapshot.clone(),
        region: pool.region.clone(),
        size: pool.size.into(),
        cpu_cores: pool.resources.cpu_cores.into(),
        memory_gib: pool.resources.memory_gib.into(),
        disk_gib: pool.resources.disk_gib.into(),
        gpu: pool.resources.gpu.into(),
        os_user: pool.user.clone(),
        created_at: pool.created_at.as_millisecond(),
        updated_at: pool.updated_at.as_millisecond(),
    }
    .into_active_model()
    .reset_all()
}

fn from_row(row: Model) -> Result<WarmPool, StoreError> {
    let place = |column| Place {
        table: "warm_pools",
        column,
    };
    Ok(WarmPool {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        snapshot: row.snapshot,
        region: row.region,
        size: place("size").small(row.size)?,
        resources: Resources {
            cpu_cores: place("cpu_cores").small(row.cpu_cores)?,
            memory_gib: place("memory_gib").small(row.memory_gib)?,
            disk_gib: place("disk_gib").small(row.disk_gib)?,
            gpu: place("gpu").small(row.gpu)?,
        },
        user: row.os_user,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    })
}
