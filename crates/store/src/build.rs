//! Builds of images: what was ordered, and whether it is still to be done.
//!
//! A build is written in the transaction of the snapshot that it makes, and closed in the one that brings the snapshot
//! to its end. The row stays as long as the snapshot: by it the log is found.

use alcove_domain::{
    BuildId, BuildInfo, DesiredState, ImageBuild, OrganizationId, SandboxState, Snapshot,
    SnapshotId, SnapshotState,
};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait as _,
};

use crate::convert::{Place, json_list};
use crate::entity::build::{Column, Entity, Model};
use crate::entity::{sandbox, snapshot};
use crate::snapshot::from_row as snapshot_from_row;
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

    /// What a create has had built of this, or is having built now.
    pub async fn built_find(
        &self,
        org: &OrganizationId,
        key: &str,
    ) -> Result<Option<Snapshot>, StoreError> {
        let states = [SnapshotState::Building, SnapshotState::Active];
        let row = snapshot::Entity::find()
            .filter(snapshot::Column::OrganizationId.eq(org.as_str()))
            .filter(snapshot::Column::BuildKey.eq(key))
            .filter(snapshot::Column::State.is_in(states.map(SnapshotState::as_str)))
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("what was built"))?;
        row.map(snapshot_from_row).transpose()
    }

    /// How many sandboxes wait for an image to be built.
    pub async fn built_count_waiting(&self, snapshot: &SnapshotId) -> Result<u64, StoreError> {
        let states = [SandboxState::PendingBuild, SandboxState::BuildingSnapshot];
        sandbox::Entity::find()
            .filter(sandbox::Column::SnapshotId.eq(snapshot.as_str()))
            .filter(sandbox::Column::State.is_in(states.map(SandboxState::as_str)))
            .filter(sandbox::Column::DesiredState.ne(DesiredState::Destroyed.as_str()))
            .count(&self.transaction)
            .await
            .map_err(StoreError::read("the sandboxes that wait for an image"))
    }

    /// What creates have had built, or could not, and no sandbox needs any more.
    pub async fn built_list_unheld(&self) -> Result<Vec<Snapshot>, StoreError> {
        let states = [SnapshotState::Active, SnapshotState::BuildFailed];
        let held = sandbox::Entity::find()
            .select_only()
            .column(sandbox::Column::SnapshotId)
            .filter(sandbox::Column::State.ne(SandboxState::Destroyed.as_str()))
            .filter(sandbox::Column::IsBuilt.eq(true))
            .into_query();
        let rows = snapshot::Entity::find()
            .filter(snapshot::Column::BuildKey.is_not_null())
            .filter(snapshot::Column::State.is_in(states.map(SnapshotState::as_str)))
            .filter(snapshot::Column::Id.not_in_subquery(held))
            .all(&self.transaction)
            .await
            .map_err(StoreError::read("images that no sandbox needs"))?;
        rows.into_iter().map(snapshot_from_row).collect()
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
