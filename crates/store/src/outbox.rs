//! What happened, written in the transaction in which it happened.
//!
//! Listeners (event streams, webhooks) read on from the last sequence they saw. An entry holds the
//! sandbox, snapshot or volume as it was right after the event; the format is that of the row, so a column that
//! is added later needs a default there. What happens to snapshots and volumes is written by the calls that change
//! them, so that none can be forgotten; what happens to a sandbox is known to who changes it only.

use std::sync::atomic::Ordering;

use alcove_domain::{
    DesiredState, OrganizationId, Sandbox, SandboxState, Snapshot, SnapshotState, Volume,
    VolumeState,
};
use jiff::Timestamp;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::convert::Place;
use crate::entity::outbox::{ActiveModel, Column, Entity, Model};
use crate::entity::sandbox;
use crate::sandbox::{from_row as sandbox_from_row, to_row as sandbox_to_row};
use crate::snapshot::{from_row as snapshot_from_row, to_model as snapshot_to_row};
use crate::volume::{from_row as volume_from_row, to_row as volume_to_row};
use crate::{Reader, StoreError, Tx};

/// What kind of thing happened to a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxChange {
    Created,
    State {
        old: SandboxState,
        new: SandboxState,
    },
    DesiredState {
        old: DesiredState,
        new: DesiredState,
    },
}

/// An entry to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewOutboxEntry<'a> {
    pub change: OutboxChange,
    pub sandbox: &'a Sandbox,
    pub at: Timestamp,
}

/// An entry as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEntry {
    /// Grows in commit order.
    pub sequence: i64,
    pub organization: OrganizationId,
    pub event: OutboxEvent,
    pub at: Timestamp,
}

/// What happened, with what it happened to.
#[derive(Debug, Clone, PartialEq)]
pub enum OutboxEvent {
    Sandbox {
        change: OutboxChange,
        sandbox: Box<Sandbox>,
    },
    Snapshot {
        change: SnapshotChange,
        snapshot: Box<Snapshot>,
    },
    Volume {
        change: VolumeChange,
        volume: Box<Volume>,
    },
}

/// What kind of thing happened to a snapshot of an organization. Nobody is told of general ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotChange {
    Created,
    State {
        old: SnapshotState,
        new: SnapshotState,
    },
    Removed,
}

/// What kind of thing happened to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeChange {
    Created,
    State { old: VolumeState, new: VolumeState },
    LastUsed,
}

const CREATED: &str = "sandbox.created";
const STATE: &str = "sandbox.state.updated";
const DESIRED_STATE: &str = "sandbox.desired-state.updated";
const SNAPSHOT_CREATED: &str = "snapshot.created";
const SNAPSHOT_STATE: &str = "snapshot.state.updated";
const SNAPSHOT_REMOVED: &str = "snapshot.removed";
const VOLUME_CREATED: &str = "volume.created";
const VOLUME_STATE: &str = "volume.state.updated";
const VOLUME_LAST_USED: &str = "volume.lastUsedAt.updated";

impl Reader {
    /// Entries after `sequence`, in order, at most `limit`.
    pub async fn outbox_list_after(
        &self,
        sequence: i64,
        limit: u64,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let rows = Entity::find()
            .filter(Column::Sequence.gt(sequence))
            .order_by_asc(Column::Sequence)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("the outbox"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// Entries of one organization after `sequence`, in order, at most `limit`.
    pub async fn outbox_list_by_org_after(
        &self,
        organization: &OrganizationId,
        sequence: i64,
        limit: u64,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let rows = Entity::find()
            .filter(Column::Sequence.gt(sequence))
            .filter(Column::OrganizationId.eq(organization.as_str()))
            .order_by_asc(Column::Sequence)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("the outbox"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// The oldest sequence that is kept; None where nothing is.
    pub async fn outbox_first_sequence(&self) -> Result<Option<i64>, StoreError> {
        Entity::find()
            .select_only()
            .column(Column::Sequence)
            .order_by_asc(Column::Sequence)
            .limit(1)
            .into_tuple::<i64>()
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the beginning of the outbox"))
    }

    /// When the newest entry was written.
    pub async fn outbox_last_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = Entity::find()
            .select_only()
            .column(Column::CreatedAt)
            .order_by_desc(Column::Sequence)
            .limit(1)
            .into_tuple::<i64>()
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the end of the outbox"))?;
        let place = Place {
            table: "outbox",
            column: "created_at",
        };
        row.map(|at| place.time(at)).transpose()
    }

    /// The newest sequence; 0 where there is none.
    pub async fn outbox_last_sequence(&self) -> Result<i64, StoreError> {
        let row = Entity::find()
            .select_only()
            .column(Column::Sequence)
            .order_by_desc(Column::Sequence)
            .limit(1)
            .into_tuple::<i64>()
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the end of the outbox"))?;
        Ok(row.unwrap_or(0))
    }
}

impl Tx {
    /// The newest sequence; 0 where there is none. Later entries are written by later transactions.
    pub async fn outbox_last_sequence(&self) -> Result<i64, StoreError> {
        let row = Entity::find()
            .select_only()
            .column(Column::Sequence)
            .order_by_desc(Column::Sequence)
            .limit(1)
            .into_tuple::<i64>()
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("the end of the outbox"))?;
        Ok(row.unwrap_or(0))
    }

    /// Writes the entries in this order; the answer is the sequence of the last, None if there are none.
    pub async fn outbox_append(
        &self,
        entries: &[NewOutboxEntry<'_>],
    ) -> Result<Option<i64>, StoreError> {
        self.append(entries.iter().map(|entry| to_row(*entry)).collect())
            .await
    }

    pub(crate) async fn outbox_append_snapshot(
        &self,
        snapshot: &Snapshot,
        change: SnapshotChange,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(organization) = &snapshot.organization_id else {
            return Ok(());
        };
        let (kind, values) = match change {
            SnapshotChange::Created => (SNAPSHOT_CREATED, None),
            SnapshotChange::State { old, new } => {
                (SNAPSHOT_STATE, Some((old.as_str(), new.as_str())))
            }
            SnapshotChange::Removed => (SNAPSHOT_REMOVED, None),
        };
        let row = row(organization, kind, values, &snapshot_to_row(snapshot), at);
        self.append(vec![row]).await.map(drop)
    }

    pub(crate) async fn outbox_append_volume(
        &self,
        volume: &Volume,
        change: VolumeChange,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (kind, values) = match change {
            VolumeChange::Created => (VOLUME_CREATED, None),
            VolumeChange::State { old, new } => (VOLUME_STATE, Some((old.as_str(), new.as_str()))),
            VolumeChange::LastUsed => (VOLUME_LAST_USED, None),
        };
        let organization = &volume.organization_id;
        let row = row(organization, kind, values, &volume_to_row(volume), at);
        self.append(vec![row]).await.map(drop)
    }

    async fn append(&self, rows: Vec<ActiveModel>) -> Result<Option<i64>, StoreError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let result = Entity::insert_many(rows)
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the outbox"))?;
        if let Some(sequence) = result.last_insert_id {
            self.appended.fetch_max(sequence, Ordering::Relaxed);
        }
        Ok(result.last_insert_id)
    }

    /// Forgets entries older than `before`, up to the sequence `last`.
    pub async fn outbox_prune(&self, before: Timestamp, last: i64) -> Result<u64, StoreError> {
        let result = Entity::delete_many()
            .filter(Column::CreatedAt.lt(before.as_millisecond()))
            .filter(Column::Sequence.lte(last))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the outbox"))?;
        Ok(result.rows_affected)
    }
}

fn to_row(entry: NewOutboxEntry<'_>) -> ActiveModel {
    let (kind, old, new) = match entry.change {
        OutboxChange::Created => (CREATED, None, None),
        OutboxChange::State { old, new } => (STATE, Some(old.as_str()), Some(new.as_str())),
        OutboxChange::DesiredState { old, new } => {
            (DESIRED_STATE, Some(old.as_str()), Some(new.as_str()))
        }
    };
    let sandbox = entry.sandbox;
    let values = old.zip(new);
    // Nobody is told of the proxy, and what is sealed would be lost with its key.
    let payload = sandbox::Model {
        outbound_proxy: None,
        ..sandbox_to_row(sandbox)
    };
    row(&sandbox.organization_id, kind, values, &payload, entry.at)
}

fn row(
    organization: &OrganizationId,
    kind: &str,
    values: Option<(&str, &str)>,
    payload: &impl Serialize,
    at: Timestamp,
) -> ActiveModel {
    let (old, new) = values.unzip();
    let payload = serde_json::to_string(payload).expect("a row is always JSON");
    ActiveModel {
        sequence: ActiveValue::NotSet,
        organization_id: ActiveValue::Set(organization.to_string()),
        kind: ActiveValue::Set(kind.to_owned()),
        old_value: ActiveValue::Set(old.map(str::to_owned)),
        new_value: ActiveValue::Set(new.map(str::to_owned)),
        payload: ActiveValue::Set(payload),
        created_at: ActiveValue::Set(at.as_millisecond()),
    }
}

fn from_row(row: Model) -> Result<OutboxEntry, StoreError> {
    let place = |column| Place {
        table: "outbox",
        column,
    };
    let old = row.old_value.unwrap_or_default();
    let new = row.new_value.unwrap_or_default();
    let (old_place, new_place) = (place("old_value"), place("new_value"));
    let sandbox = |change| -> Result<OutboxEvent, StoreError> {
        let sandbox = Box::new(sandbox_from_row(payload(&row.payload)?)?);
        Ok(OutboxEvent::Sandbox { change, sandbox })
    };
    let snapshot = |change| -> Result<OutboxEvent, StoreError> {
        let snapshot = Box::new(snapshot_from_row(payload(&row.payload)?)?);
        Ok(OutboxEvent::Snapshot { change, snapshot })
    };
    let volume = |change| -> Result<OutboxEvent, StoreError> {
        let volume = Box::new(volume_from_row(payload(&row.payload)?)?);
        Ok(OutboxEvent::Volume { change, volume })
    };
    let event = match row.kind.as_str() {
        CREATED => sandbox(OutboxChange::Created)?,
        STATE => sandbox(OutboxChange::State {
            old: old_place.word(&old, SandboxState::parse)?,
            new: new_place.word(&new, SandboxState::parse)?,
        })?,
        DESIRED_STATE => sandbox(OutboxChange::DesiredState {
            old: old_place.word(&old, DesiredState::parse)?,
            new: new_place.word(&new, DesiredState::parse)?,
        })?,
        SNAPSHOT_CREATED => snapshot(SnapshotChange::Created)?,
        SNAPSHOT_STATE => snapshot(SnapshotChange::State {
            old: old_place.word(&old, SnapshotState::parse)?,
            new: new_place.word(&new, SnapshotState::parse)?,
        })?,
        SNAPSHOT_REMOVED => snapshot(SnapshotChange::Removed)?,
        VOLUME_CREATED => volume(VolumeChange::Created)?,
        VOLUME_STATE => volume(VolumeChange::State {
            old: old_place.word(&old, VolumeState::parse)?,
            new: new_place.word(&new, VolumeState::parse)?,
        })?,
        VOLUME_LAST_USED => volume(VolumeChange::LastUsed)?,
        other => return Err(place("kind").bad(other)),
    };
    Ok(OutboxEntry {
        sequence: row.sequence,
        organization: place("organization_id").id(row.organization_id)?,
        event,
        at: place("created_at").time(row.created_at)?,
    })
}

fn payload<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    let place = Place {
        table: "outbox",
        column: "payload",
    };
    serde_json::from_str(text).map_err(|_| place.bad("not a row"))
}
