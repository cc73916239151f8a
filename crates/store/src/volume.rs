//! Volumes, and which sandboxes mount them.

use std::collections::BTreeSet;

use alcove_domain::{
    DesiredState, OrganizationId, Sandbox, SandboxId, Volume, VolumeId, VolumePhase, VolumeState,
};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel,
    PaginatorTrait as _, QueryFilter, QueryOrder, QuerySelect, QueryTrait as _, SqlErr,
};

use crate::convert::{Place, bigint};
use crate::entity::volume::{Column, Entity, Model};
use crate::entity::{organization, sandbox, sandbox_volume};
use crate::outbox::VolumeChange;
use crate::{Reader, StoreError, Tx};

impl Reader {
    /// A volume of the organization, deleted or not.
    pub async fn volume_find(
        &self,
        org: &OrganizationId,
        id: &VolumeId,
    ) -> Result<Option<Volume>, StoreError> {
        find(&self.connection, org, id).await
    }

    /// The volume of the organization that holds the name.
    pub async fn volume_find_by_name(
        &self,
        org: &OrganizationId,
        name: &str,
    ) -> Result<Option<Volume>, StoreError> {
        let row = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .filter(Column::Name.eq(name))
            .filter(Column::State.is_in(words(VolumeState::holds_name)))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("a volume"))?;
        row.map(from_row).transpose()
    }

    /// Volumes of an organization, newest first.
    pub async fn volume_list(
        &self,
        org: &OrganizationId,
        with_deleted: bool,
    ) -> Result<Vec<Volume>, StoreError> {
        let mut query = Entity::find().filter(Column::OrganizationId.eq(org.as_str()));
        if !with_deleted {
            query = query.filter(Column::State.ne(VolumeState::Deleted.as_str()));
        }
        let rows = query
            .order_by_desc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("volumes"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Volumes of all organizations that a host has to make or to remove.
    pub async fn volume_list_unsettled(&self) -> Result<Vec<Volume>, StoreError> {
        let rows = Entity::find()
            .filter(Column::State.is_in(words(VolumeState::is_unsettled)))
            .all(&self.connection)
            .await
            .map_err(StoreError::read("volumes"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// How many volumes count against the organization's quota.
    pub async fn volume_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        count(&self.connection, org).await
    }

    /// How many volumes the organization may have; None where it has no number of its own.
    pub async fn volume_quota(&self, org: &OrganizationId) -> Result<Option<u64>, StoreError> {
        quota(&self.connection, org).await
    }
}

impl Tx {
    /// As [`Reader::volume_find`], within the transaction.
    pub async fn volume_find(
        &self,
        org: &OrganizationId,
        id: &VolumeId,
    ) -> Result<Option<Volume>, StoreError> {
        find(&self.transaction, org, id).await
    }

    /// As [`Reader::volume_count`], with what the transaction has written.
    pub async fn volume_count(&self, org: &OrganizationId) -> Result<u64, StoreError> {
        count(&self.transaction, org).await
    }

    /// As [`Reader::volume_quota`], within the transaction.
    pub async fn volume_quota(&self, org: &OrganizationId) -> Result<Option<u64>, StoreError> {
        quota(&self.transaction, org).await
    }

    /// Sets how many volumes an organization may have; None for the operator's number. False if there is no such
    /// organization.
    pub async fn volume_quota_put(
        &self,
        org: &OrganizationId,
        quota: Option<u64>,
    ) -> Result<bool, StoreError> {
        let result = organization::Entity::update_many()
            .col_expr(
                organization::Column::VolumeQuota,
                Expr::value(quota.map(bigint)),
            )
            .filter(organization::Column::Id.eq(org.as_str()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a quota"))?;
        Ok(result.rows_affected == 1)
    }

    /// # Errors
    /// [`StoreError::NameTaken`] if another volume of the organization holds the name.
    pub async fn volume_insert(&self, volume: &Volume) -> Result<(), StoreError> {
        self.note_made("volume", volume.id.as_str());
        Entity::insert(to_row(volume).into_active_model())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(|source| match source.sql_err() {
                // The id is random: of the two unique things, only the name can be taken.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::NameTaken,
                _ => StoreError::Write {
                    what: "a volume",
                    source,
                },
            })?;
        self.outbox_append_volume(volume, VolumeChange::Created, volume.created_at)
            .await
    }

    /// Writes the row over the version before it.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if the row has another version than `volume.version - 1`.
    pub async fn volume_update(&self, volume: &Volume) -> Result<(), StoreError> {
        let before = find(&self.transaction, &volume.organization_id, &volume.id).await?;
        let mut row = to_row(volume).into_active_model().reset_all();
        // What never changes, and what is written by itself.
        row.id = ActiveValue::NotSet;
        row.organization_id = ActiveValue::NotSet;
        row.size_bytes = ActiveValue::NotSet;
        row.source_id = ActiveValue::NotSet;
        row.created_at = ActiveValue::NotSet;
        row.last_used_at = ActiveValue::NotSet;
        let result = Entity::update_many()
            .set(row)
            .filter(Column::Id.eq(volume.id.as_str()))
            .filter(Column::Version.eq(bigint(volume.version) - 1))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a volume"))?;
        let Some(before) = before.filter(|_| result.rows_affected == 1) else {
            return Err(StoreError::Changed { what: "a volume" });
        };
        let (old, new) = (before.state(), volume.state());
        if old == new {
            return Ok(());
        }
        let change = VolumeChange::State { old, new };
        self.outbox_append_volume(volume, change, volume.updated_at)
            .await
    }

    /// Notes that a sandbox with these volumes is made or started. The version stays: this is no change of the volume.
    pub async fn volume_touch(&self, sandbox: &Sandbox, at: Timestamp) -> Result<(), StoreError> {
        if sandbox.volumes.is_empty() {
            return Ok(());
        }
        // One sandbox may mount two folders of one volume.
        let ids: BTreeSet<&VolumeId> = sandbox.volumes.iter().map(|mount| &mount.volume).collect();
        let texts = ids.iter().map(|id| id.as_str());
        Entity::update_many()
            .col_expr(Column::LastUsedAt, Expr::value(at.as_millisecond()))
            .filter(Column::Id.is_in(texts))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the last use of a volume"))?;
        for id in ids {
            if let Some(volume) = find(&self.transaction, &sandbox.organization_id, id).await? {
                self.outbox_append_volume(&volume, VolumeChange::LastUsed, at)
                    .await?;
            }
        }
        Ok(())
    }

    /// A sandbox that mounts the volume and that nobody has deleted, with its name.
    pub async fn volume_user(
        &self,
        id: &VolumeId,
    ) -> Result<Option<(SandboxId, String)>, StoreError> {
        let users = sandbox_volume::Entity::find()
            .select_only()
            .column(sandbox_volume::Column::SandboxId)
            .filter(sandbox_volume::Column::VolumeId.eq(id.as_str()))
            .into_query();
        let row: Option<(String, String)> = sandbox::Entity::find()
            .select_only()
            .column(sandbox::Column::Id)
            .column(sandbox::Column::Name)
            .filter(sandbox::Column::Id.in_subquery(users))
            .filter(sandbox::Column::DesiredState.ne(DesiredState::Destroyed.as_str()))
            .order_by_asc(sandbox::Column::CreatedAt)
            .limit(1)
            .into_tuple()
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("the sandboxes of a volume"))?;
        let place = Place {
            table: "sandboxes",
            column: "id",
        };
        row.map(|(id, name)| Ok((place.id(id)?, name))).transpose()
    }

    /// The name of a volume that is still to get this one's content.
    pub async fn volume_heir(&self, id: &VolumeId) -> Result<Option<String>, StoreError> {
        let making = [VolumeState::PendingCreate, VolumeState::Creating];
        Entity::find()
            .select_only()
            .column(Column::Name)
            .filter(Column::SourceId.eq(id.as_str()))
            .filter(Column::State.is_in(making.map(VolumeState::as_str)))
            .limit(1)
            .into_tuple()
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("the copies of a volume"))
    }

    /// Removes rows of volumes that have been deleted since before `before`, at most `limit` of them.
    pub async fn volume_prune(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        let old = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::State.eq(VolumeState::Deleted.as_str()))
            .filter(Column::UpdatedAt.lt(before.as_millisecond()))
            .limit(limit)
            .into_query();
        let result = Entity::delete_many()
            .filter(Column::Id.in_subquery(old))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("deleted volumes"))?;
        Ok(result.rows_affected)
    }

    pub(crate) async fn volume_uses_insert(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        // One sandbox may mount two folders of one volume.
        let ids: BTreeSet<&str> = sandbox
            .volumes
            .iter()
            .map(|mount| mount.volume.as_str())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let rows = ids.into_iter().map(|id| sandbox_volume::ActiveModel {
            volume_id: ActiveValue::Set(id.to_owned()),
            sandbox_id: ActiveValue::Set(sandbox.id.to_string()),
        });
        sandbox_volume::Entity::insert_many(rows)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("the volumes of a sandbox"))?;
        Ok(())
    }

    pub(crate) async fn volume_uses_delete(&self, sandboxes: &[String]) -> Result<(), StoreError> {
        sandbox_volume::Entity::delete_many()
            .filter(sandbox_volume::Column::SandboxId.is_in(sandboxes))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the volumes of sandboxes"))?;
        Ok(())
    }
}

/// The words of the states that something is true of.
pub(crate) fn words(is_it: impl Fn(VolumeState) -> bool) -> impl Iterator<Item = &'static str> {
    let all = VolumeState::ALL.iter().copied();
    all.filter(move |state| is_it(*state))
        .map(VolumeState::as_str)
}

async fn find(
    db: &impl ConnectionTrait,
    org: &OrganizationId,
    id: &VolumeId,
) -> Result<Option<Volume>, StoreError> {
    let row = Entity::find_by_id(id.as_str())
        .filter(Column::OrganizationId.eq(org.as_str()))
        .one(db)
        .await
        .map_err(StoreError::read("a volume"))?;
    row.map(from_row).transpose()
}

async fn count(db: &impl ConnectionTrait, org: &OrganizationId) -> Result<u64, StoreError> {
    Entity::find()
        .filter(Column::OrganizationId.eq(org.as_str()))
        .filter(Column::State.is_in(words(VolumeState::is_counted)))
        .count(db)
        .await
        .map_err(StoreError::read("the number of volumes"))
}

async fn quota(db: &impl ConnectionTrait, org: &OrganizationId) -> Result<Option<u64>, StoreError> {
    let found = organization::Entity::find_by_id(org.as_str())
        .one(db)
        .await
        .map_err(StoreError::read("a quota"))?;
    let place = Place {
        table: "organizations",
        column: "volume_quota",
    };
    found
        .and_then(|row| row.volume_quota)
        .map(|quota| place.unsigned(quota))
        .transpose()
}

pub(crate) fn to_row(volume: &Volume) -> Model {
    Model {
        id: volume.id.to_string(),
        organization_id: volume.organization_id.to_string(),
        name: volume.name.clone(),
        state: volume.state().as_str().to_owned(),
        // PostgreSQL does not keep this one character.
        error_reason: volume.error_reason().map(|text| text.replace('\0', "")),
        size_bytes: bigint(volume.size_bytes),
        created_at: volume.created_at.as_millisecond(),
        updated_at: volume.updated_at.as_millisecond(),
        last_used_at: volume.last_used_at.map(Timestamp::as_millisecond),
        version: bigint(volume.version),
        project: volume.project.clone(),
        source_id: volume.source.as_ref().map(ToString::to_string),
    }
}

pub(crate) fn from_row(row: Model) -> Result<Volume, StoreError> {
    let place = |column| Place {
        table: "volumes",
        column,
    };
    let phase = match place("state").word(&row.state, VolumeState::parse)? {
        VolumeState::Creating => VolumePhase::Creating,
        VolumeState::Ready => VolumePhase::Ready,
        VolumeState::PendingCreate => VolumePhase::PendingCreate,
        VolumeState::PendingDelete => VolumePhase::PendingDelete,
        VolumeState::Deleting => VolumePhase::Deleting,
        VolumeState::Deleted => VolumePhase::Deleted,
        VolumeState::Error => VolumePhase::Error {
            reason: row.error_reason.unwrap_or_default(),
        },
    };
    Ok(Volume {
        id: place("id").id(row.id)?,
        organization_id: place("organization_id").id(row.organization_id)?,
        name: row.name,
        phase,
        size_bytes: place("size_bytes").unsigned(row.size_bytes)?,
        created_at: place("created_at").time(row.created_at)?,
        updated_at: place("updated_at").time(row.updated_at)?,
        last_used_at: place("last_used_at").time_option(row.last_used_at)?,
        version: place("version").unsigned(row.version)?,
        project: row.project,
        source: row
            .source_id
            .map(|id| place("source_id").id(id))
            .transpose()?,
    })
}
