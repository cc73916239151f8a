//! What happened, written in the transaction in which it happened.
//!
//! Listeners (event streams, later web hooks) read on from the last sequence they saw. An entry holds the
//! sandbox as it was right after the event; the format is that of the row, so a column that is added
//! later needs a default there.

use alcove_domain::{DesiredState, OrganizationId, Sandbox, SandboxState};
use jiff::Timestamp;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::convert::Place;
use crate::entity::outbox::{ActiveModel, Column, Entity, Model};
use crate::sandbox::{from_row as sandbox_from_row, to_row as sandbox_to_row};
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
    pub change: OutboxChange,
    pub sandbox: Sandbox,
    pub at: Timestamp,
}

const CREATED: &str = "sandbox.created";
const STATE: &str = "sandbox.state.updated";
const DESIRED_STATE: &str = "sandbox.desired-state.updated";

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
    /// Writes the entries in this order; the answer is the sequence of the last, None if there are none.
    pub async fn outbox_append(
        &self,
        entries: &[NewOutboxEntry<'_>],
    ) -> Result<Option<i64>, StoreError> {
        if entries.is_empty() {
            return Ok(None);
        }
        let result = Entity::insert_many(entries.iter().map(|entry| to_row(*entry)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the outbox"))?;
        Ok(result.last_insert_id)
    }

    /// Forgets entries older than `before`.
    pub async fn outbox_prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let result = Entity::delete_many()
            .filter(Column::CreatedAt.lt(before.as_millisecond()))
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
    let payload =
        serde_json::to_string(&sandbox_to_row(entry.sandbox)).expect("a row is always JSON");
    ActiveModel {
        sequence: ActiveValue::NotSet,
        organization_id: ActiveValue::Set(entry.sandbox.organization_id.to_string()),
        kind: ActiveValue::Set(kind.to_owned()),
        old_value: ActiveValue::Set(old.map(str::to_owned)),
        new_value: ActiveValue::Set(new.map(str::to_owned)),
        payload: ActiveValue::Set(payload),
        created_at: ActiveValue::Set(entry.at.as_millisecond()),
    }
}

fn from_row(row: Model) -> Result<OutboxEntry, StoreError> {
    let place = |column| Place {
        table: "outbox",
        column,
    };
    let old = row.old_value.unwrap_or_default();
    let new = row.new_value.unwrap_or_default();
    let change = match row.kind.as_str() {
        CREATED => OutboxChange::Created,
        STATE => OutboxChange::State {
            old: place("old_value").word(&old, SandboxState::parse)?,
            new: place("new_value").word(&new, SandboxState::parse)?,
        },
        DESIRED_STATE => OutboxChange::DesiredState {
            old: place("old_value").word(&old, DesiredState::parse)?,
            new: place("new_value").word(&new, DesiredState::parse)?,
        },
        other => return Err(place("kind").bad(other)),
    };
    let payload =
        serde_json::from_str(&row.payload).map_err(|_| place("payload").bad("not a row"))?;
    Ok(OutboxEntry {
        sequence: row.sequence,
        organization: place("organization_id").id(row.organization_id)?,
        change,
        sandbox: sandbox_from_row(payload)?,
        at: place("created_at").time(row.created_at)?,
    })
}
