//! Regions that organizations make.

use alcove_domain::{CustomRegion, ManagerLogin, RegionId, RegionUrls};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder as _,
    SqlErr,
};

use crate::convert::Place;
use crate::entity::region::{ActiveModel, Column, Entity, Model};
use crate::runner::{hash_text, read_hash};
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// Those of all organizations, the oldest first.
    pub async fn region_list_all(&self) -> Result<Vec<CustomRegion>, StoreError> {
        let rows = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("regions"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    /// # Errors
    /// [`StoreError::NameTaken`] if the organization has one of this name, or another has this id.
    pub async fn region_insert(&self, region: &CustomRegion) -> Result<(), StoreError> {
        self.note_made("region", region.id.as_str());
        Entity::insert(to_row(region))
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a region",
                    source,
                },
            })?;
        Ok(())
    }

    /// Writes it in its place. False if it is gone.
    pub async fn region_update(&self, region: &CustomRegion) -> Result<bool, StoreError> {
        let result = Entity::update_many()
            .set(to_row(region))
            .filter(Column::Id.eq(region.id.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a region"))?;
        Ok(result.rows_affected == 1)
    }

    /// False if there is none.
    pub async fn region_delete(&self, id: &RegionId) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a region"))?;
        Ok(result.rows_affected == 1)
    }
}

fn to_row(region: &CustomRegion) -> ActiveModel {
    let manager = region.snapshot_manager.as_ref();
    Model {
        id: region.id.to_string(),
        organization_id: region.organization_id.to_string(),
        name: region.name.clone(),
        proxy_url: region.urls.proxy.clone(),
        ssh_gateway_url: region.urls.ssh_gateway.clone(),
        snapshot_manager_url: region.urls.snapshot_manager.clone(),
        proxy_key_hash: region.proxy_key.map(hash_text),
        ssh_gateway_key_hash: region.ssh_gateway_key.map(hash_text),
        snapshot_manager_username: manager.map(|login| login.username.clone()),
        snapshot_manager_password_hash: manager.map(|login| hash_text(login.password)),
        created_at: region.created_at.as_millisecond(),
        updated_at: region.updated_at.as_millisecond(),
    }
    .into_active_model()
    .reset_all()
}

fn from_row(row: Model) -> Result<CustomRegion, StoreError> {
    let place = |column| Place {
        table: "regions",
        column,
    };
    let hash =
        |column, text: Option<String>| text.map(|text| read_hash(place(column), &text)).transpose();
    let password = hash(
        "snapshot_manager_password_hash",
        row.snapshot_manager_password_hash,
    )?;
    let snapshot_manager = row
        .snapshot_manager_username
        .zip(password)
        .map(|(username, password)| ManagerLogin { username, password });
    Ok(CustomRegion {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        name: row.name,
        urls: RegionUrls {
            proxy: row.proxy_url,
            ssh_gateway: row.ssh_gateway_url,
            snapshot_manager: row.snapshot_manager_url,
        },
        proxy_key: hash("proxy_key_hash", row.proxy_key_hash)?,
        ssh_gateway_key: hash("ssh_gateway_key_hash", row.ssh_gateway_key_hash)?,
        snapshot_manager,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
    })
}
