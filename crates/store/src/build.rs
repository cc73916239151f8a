//! Builds of images: what was ordered, and whether it is still to be done.
//!
//! A build is written in the transaction of the snapshot that it makes, and closed in the one that brings the snapshot
//! to its end. The row stays as long as the snapshot: by it the log is found.

use alcove_domain::{BuildId, BuildInfo, ImageBuild, SnapshotId, SnapshotState};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use crate::convert::{Place, json_list};
use crate::entity::build::{Column, Entity, Model};
use crate::{Reader, SnapshotOutcome, StoreError, Tx};

impl Reader {
    /// Every build that is still to be done, oldest first.
    pub async fn build_list_open(&self) -> Result<Vec<ImageBuild>, StoreError> {
        let rows = Entity::find()
            .filter(Column::IsOpen.eq(true))
            .order_by_asc(Column::CreatedAt)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("open builds"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// The newest build of a snapshot.
    pub async fn build_find_by_snapshot(
        &self,
        snapshot: &SnapshotId,
    ) -> Result<Option<ImageBuild>, StoreError> {
        let row = Entity::find()
            .filter(Column::SnapshotId.eq(snapshot.as_str()))
            .order_by_desc(Column::CreatedAt)
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a build"))?;
        row.map(from_row).transpose()
    }
}

impl Tx {
    pub async fn build_insert(&self, build: &ImageBuild) -> Result<(), StoreError> {
        let row = Model {
            id: build.id.to_string(),
            organization_id: build.organization_id.to_string(),
            snapshot_id: build.snapshot_id.to_string(),
            dockerfile: build.info.dockerfile.clone(),
            context_hashes: json_list(&build.info.context_hashes),
            created_at: build.created_at.as_millisecond(),
            deadline: build.deadline.as_millisecond(),
            is_open: build.is_open,
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a build"))?;
        Ok(())
    }

    /// Removes the builds of a snapshot that goes.
    pub(crate) async fn builds_delete(&self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::SnapshotId.eq(snapshot.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the end of a snapshot's builds"))?;
        Ok(())
    }

    /// Closes a build and brings its snapshot to its end. A snapshot that is no longer being built stays as it is.
    pub async fn build_finish(
        &self,
        build: &BuildId,
        snapshot: &SnapshotId,
        outcome: &SnapshotOutcome,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::IsOpen, Expr::value(false))
            .filter(Column::Id.eq(build.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the end of a build"))?;
        let states = [SnapshotState::Building, SnapshotState::BuildFailed];
        self.snapshot_end(snapshot, states, outcome, at).await
    }
}

fn from_row(row: Model) -> Result<ImageBuild, StoreError> {
    let place = |column| Place {
        table: "builds",
        column,
    };
    Ok(ImageBuild {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        snapshot_id: place("snapshot_id").id(row.snapshot_id)?,
        info: BuildInfo {
            dockerfile: row.dockerfile,
            context_hashes: place("context_hashes").list(&row.context_hashes)?,
        },
        created_at: place("created_at").time(row.created_at)?,
        deadline: place("deadline").time(row.deadline)?,
        is_open: row.is_open,
    })
}
