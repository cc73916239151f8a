//! What was done by whom, in one chain of rows for each organization and one for the server itself.
//!
//! Rows are written by [`Tx::commit`] for the action that the task is about ([`Deed`]), and in batches for what no transaction
//! was made for. None is ever changed. What is too old goes from the head of its log, which remembers what came before.

mod chain;
mod deed;
mod export;
mod filter;

use std::collections::BTreeMap;

use alcove_domain::{AuditEntry, AuditFilter, AuditKey, AuditRow, AuditScope, OrganizationId};
use jiff::Timestamp;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue, ColumnTrait as _, Condition, ConnectionTrait,
    EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::convert::Place;
use crate::entity::audit_log::{self, Column as LogColumn, Entity as Logs};
use crate::entity::audit_row::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

pub use self::chain::{AuditBreak, AuditFault};
pub use self::deed::{Deed, acting};
pub use self::export::ExportCheck;

/// Rows that one statement writes: each has some twenty values, and SQLite takes 32,766.
const CHUNK: usize = 500;
/// Rows that are read at once while a log is checked.
const CHECKED_AT_ONCE: u64 = 1000;

/// A log whose chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedLog {
    /// The organization whose log it is; empty for the server's.
    pub log: String,
    pub rows: u64,
    /// The last row, by its number, and its hash. Noted elsewhere, they show later whether the log was written anew.
    pub last: (i64, String),
}

/// One page, newest first, or oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPage {
    /// The newest before this row, by its sequence; from the newest of all where it is None.
    Before { sequence: Option<i64>, limit: u64 },
    /// The newest but for so many.
    Skipping { rows: u64, limit: u64 },
    /// The oldest after this row, by its sequence.
    After { sequence: i64, limit: u64 },
}

impl Reader {
    pub async fn audit_list(
        &self,
        scope: &AuditScope,
        filter: &AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let found = Entity::find().filter(filter::of(scope, filter));
        let found = match page {
            AuditPage::Before { sequence, limit } => found
                .filter(filter::before(sequence))
                .order_by_desc(Column::Sequence)
                .limit(limit),
            AuditPage::Skipping { rows, limit } => found
                .order_by_desc(Column::Sequence)
                .offset(rows)
                .limit(limit),
            AuditPage::After { sequence, limit } => found
                .filter(Column::Sequence.gt(sequence))
                .order_by_asc(Column::Sequence)
                .limit(limit),
        };
        let rows = found.all(&self.connection).await;
        let rows = rows.map_err(StoreError::read("the audit log"))?;
        rows.into_iter().map(from_row).collect()
    }

    /// What was done to and in one target, in the order of time, after this time and sequence.
    pub async fn audit_history(
        &self,
        org: &OrganizationId,
        target: &str,
        filter: &AuditFilter,
        after: Option<(Timestamp, i64)>,
        limit: u64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let scope = AuditScope::Target(org.clone(), target.to_owned());
        let mut found = Entity::find().filter(filter::of(&scope, filter));
        if let Some((at, sequence)) = after {
            let at = at.as_millisecond();
            let same = Condition::all()
                .add(Column::CreatedAt.eq(at))
                .add(Column::Sequence.gt(sequence));
            let later = Condition::any().add(Column::CreatedAt.gt(at)).add(same);
            found = found.filter(later);
        }
        let rows = found
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Sequence)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("the audit log"))?;
        rows.into_iter().map(from_row).collect()
    }

    pub async fn audit_count(
        &self,
        scope: &AuditScope,
        filter: &AuditFilter,
    ) -> Result<u64, StoreError> {
        Entity::find()
            .filter(filter::of(scope, filter))
            .count(&self.connection)
            .await
            .map_err(StoreError::read("the audit log"))
    }

    /// Follows every chain from its head to its end. The first break ends it.
    pub async fn audit_verify(&self) -> Result<Result<Vec<CheckedLog>, AuditBreak>, StoreError> {
        let failed = |error| StoreError::read("the audit log")(error);
        // All of it as it was at one moment, though it is written meanwhile: what comes later has larger numbers.
        let logs = Logs::find()
            .order_by_asc(LogColumn::Log)
            .all(&self.connection)
            .await
            .map_err(failed)?;
        let known: Vec<&str> = logs.iter().map(|log| log.log.as_str()).collect();
        let stray = Entity::find()
            .filter(Column::Log.is_not_in(known))
            .order_by_asc(Column::Sequence)
            .one(&self.connection)
            .await
            .map_err(failed)?;
        // The server may have begun a log since.
        if let Some(row) = stray
            && Logs::find_by_id(&row.log)
                .one(&self.connection)
                .await
                .map_err(failed)?
                .is_none()
        {
            return Ok(Err(AuditBreak {
                log: row.log,
                number: row.number,
                fault: AuditFault::Surplus,
            }));
        }
        let mut checked = Vec::with_capacity(logs.len());
        for log in logs {
            match self.audit_verify_log(&log).await? {
                Ok(log) => checked.push(log),
                Err(broken) => return Ok(Err(broken)),
            }
        }
        Ok(Ok(checked))
    }

    async fn audit_verify_log(
        &self,
        log: &audit_log::Model,
    ) -> Result<Result<CheckedLog, AuditBreak>, StoreError> {
        let mut check = chain::Check::new(
            log.log.clone(),
            log.first_number,
            log.first_previous_hash.clone(),
        );
        let mut after = i64::MIN;
        let mut count = 0;
        loop {
            let rows = Entity::find()
                .filter(Column::Log.eq(&log.log))
                .filter(Column::Number.gt(after))
                .order_by_asc(Column::Number)
                .limit(CHECKED_AT_ONCE)
                .all(&self.connection)
                .await
                .map_err(StoreError::read("the audit log"))?;
            let is_last = rows.len() < usize::try_from(CHECKED_AT_ONCE).unwrap_or(usize::MAX);
            for row in &rows {
                after = row.number;
                if row.number > log.last_number {
                    // Written since, or put there: the log as it is now tells.
                    let now = Logs::find_by_id(&log.log)
                        .one(&self.connection)
                        .await
                        .map_err(StoreError::read("the audit log"))?;
                    if now.is_none_or(|now| now.last_number < row.number) {
                        return Ok(Err(AuditBreak {
                            log: log.log.clone(),
                            number: row.number,
                            fault: AuditFault::Surplus,
                        }));
                    }
                    break;
                }
                if let Err(broken) = check.row(row) {
                    return Ok(Err(broken));
                }
                count += 1;
            }
            if is_last || after > log.last_number {
                break;
            }
        }
        if let Err(broken) = check.end(log.last_number, &log.last_hash) {
            return Ok(Err(broken));
        }
        let (number, hash) = check.reached();
        Ok(Ok(CheckedLog {
            log: log.log.clone(),
            rows: count,
            last: (number, hash.to_owned()),
        }))
    }

    /// The hash of a row of a log, if it is still there.
    pub async fn audit_hash(&self, log: &str, number: i64) -> Result<Option<String>, StoreError> {
        let row = Entity::find()
            .filter(Column::Log.eq(log))
            .filter(Column::Number.eq(number))
            .one(&self.connection)
            .await
            .map_err(StoreError::read("the audit log"))?;
        Ok(row.map(|row| row.hash))
    }

    /// The logs that there are.
    pub async fn audit_logs(&self) -> Result<Vec<String>, StoreError> {
        Logs::find()
            .select_only()
            .column(LogColumn::Log)
            .order_by_asc(LogColumn::Log)
            .into_tuple::<String>()
            .all(&self.connection)
            .await
            .map_err(StoreError::read("the audit log"))
    }
}

impl Tx {
    /// Writes rows in this order, each at the end of its log.
    pub async fn audit_append(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        append(&self.transaction, entries)
            .await
            .map_err(StoreError::write("the audit log"))
    }

    /// Forgets rows of a log that are older than `before`, from its head on, at most `limit`. True where there may be
    /// more. The log goes on: it remembers the hash of the last that went.
    pub async fn audit_prune(
        &self,
        log: &str,
        before: Timestamp,
        limit: u64,
    ) -> Result<bool, StoreError> {
        let failed = |error| StoreError::write("the audit log")(error);
        let rows = Entity::find()
            .select_only()
            .columns([Column::Number, Column::CreatedAt])
            .column(Column::Hash)
            .filter(Column::Log.eq(log))
            .order_by_asc(Column::Number)
            .limit(limit)
            .into_tuple::<(i64, i64, String)>()
            .all(&self.transaction)
            .await
            .map_err(failed)?;
        let count = rows.len();
        let old: Vec<_> = rows
            .into_iter()
            .take_while(|(_, at, _)| *at < before.as_millisecond())
            .collect();
        let Some((last, _, hash)) = old.last() else {
            return Ok(false);
        };
        Entity::delete_many()
            .filter(Column::Log.eq(log))
            .filter(Column::Number.lte(*last))
            .exec(&self.transaction)
            .await
            .map_err(failed)?;
        Logs::update_many()
            .col_expr(LogColumn::FirstNumber, (*last + 1).into())
            .col_expr(LogColumn::FirstPreviousHash, hash.as_str().into())
            .filter(LogColumn::Log.eq(log))
            .exec(&self.transaction)
            .await
            .map_err(failed)?;
        Ok(old.len() == count && count as u64 == limit)
    }
}

/// Writes rows at the ends of their logs. Nobody else writes meanwhile, so what is read here stays so.
pub(crate) async fn append(
    connection: &impl ConnectionTrait,
    entries: Vec<AuditEntry>,
) -> Result<(), sea_orm::DbErr> {
    let mut ends: BTreeMap<String, audit_log::Model> = BTreeMap::new();
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let log = entry
            .organization
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if !ends.contains_key(&log) {
            let found = Logs::find_by_id(&log).one(connection).await?;
            let end = found.unwrap_or_else(|| audit_log::Model {
                log: log.clone(),
                first_number: 1,
                first_previous_hash: chain::BEGINNING.to_owned(),
                last_number: 0,
                last_hash: chain::BEGINNING.to_owned(),
            });
            ends.insert(log.clone(), end);
        }
        let Some(end) = ends.get_mut(&log) else {
            continue;
        };
        let row = to_row(entry, log, end);
        end.last_number = row.number;
        end.last_hash.clone_from(&row.hash);
        rows.push(row);
    }
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let chunk: Vec<_> = rows
            .by_ref()
            .take(CHUNK)
            .map(|row| {
                let mut row = row.into_active_model().reset_all();
                row.sequence = ActiveValue::NotSet;
                row
            })
            .collect();
        Entity::insert_many(chunk)
            .exec_without_returning(connection)
            .await?;
    }
    let move_on = OnConflict::column(LogColumn::Log)
        .update_columns([LogColumn::LastNumber, LogColumn::LastHash])
        .to_owned();
    if !ends.is_empty() {
        let ends = ends
            .into_values()
            .map(|end| end.into_active_model().reset_all());
        Logs::insert_many(ends)
            .on_conflict(move_on)
            .exec_without_returning(connection)
            .await?;
    }
    Ok(())
}

fn to_row(entry: AuditEntry, log: String, end: &audit_log::Model) -> Model {
    let mut row = to_model(AuditRow {
        sequence: 0,
        number: end.last_number + 1,
        entry,
        previous_hash: end.last_hash.clone(),
        hash: String::new(),
    });
    row.log = log;
    row.hash = chain::hash(&row);
    row
}

fn to_model(row: AuditRow) -> Model {
    let entry = row.entry;
    let log = entry.organization.as_ref().map(ToString::to_string);
    let (name, prefix, suffix) = match entry.actor_key {
        Some(key) => (Some(key.name), Some(key.prefix), Some(key.suffix)),
        None => (None, None, None),
    };
    Model {
        sequence: row.sequence,
        log: log.unwrap_or_default(),
        number: row.number,
        id: entry.id,
        created_at: entry.at.as_millisecond(),
        actor_id: entry.actor_id,
        actor_email: entry.actor_email,
        key_name: name,
        key_prefix: prefix,
        key_suffix: suffix,
        action: entry.action,
        target_type: entry.target_type,
        target_id: entry.target_id,
        status: entry.status.map(i64::from),
        error_message: entry.error,
        ip_address: entry.address,
        user_agent: entry.user_agent,
        source: entry.source,
        metadata: crate::convert::json_map(&entry.metadata),
        previous_hash: row.previous_hash,
        hash: row.hash,
    }
}

fn from_row(row: Model) -> Result<AuditRow, StoreError> {
    let place = |column| Place {
        table: "audit_rows",
        column,
    };
    let key = row.key_name.zip(row.key_prefix).zip(row.key_suffix);
    let organization = match row.log.as_str() {
        "" => None,
        _ => Some(place("log").id(row.log.clone())?),
    };
    let status = row
        .status
        .map(|status| u16::try_from(status).map_err(|_| place("status").bad(status.to_string())));
    let entry = AuditEntry {
        id: row.id,
        at: place("created_at").time(row.created_at)?,
        actor_id: row.actor_id,
        actor_email: row.actor_email,
        actor_key: key.map(|((name, prefix), suffix)| AuditKey {
            name,
            prefix,
            suffix,
        }),
        organization,
        action: row.action,
        target_type: row.target_type,
        target_id: row.target_id,
        status: status.transpose()?,
        error: row.error_message,
        address: row.ip_address,
        user_agent: row.user_agent,
        source: row.source,
        metadata: place("metadata").map(&row.metadata)?,
    };
    Ok(AuditRow {
        sequence: row.sequence,
        number: row.number,
        entry,
        previous_hash: row.previous_hash,
        hash: row.hash,
    })
}
