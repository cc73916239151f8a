//! The durable queue of orders to runners.
//!
//! A sandbox has at most one open order: a newer one takes the row of the older, and whoever finishes
//! one must name its generation, so that nobody finishes another's. An order is written in the
//! transaction of the state change that it serves and finished in the one of the state that it led to.
//! Its owner holds it by a lease; a lapsed one may be claimed by any control process.

use alcove_domain::{Goal, SandboxId};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter};

use crate::convert::{Place, bigint};
use crate::entity::command::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// One run of a control process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerId(pub String);

/// An order that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCommand {
    pub sandbox: SandboxId,
    pub generation: u64,
    pub goal: Goal,
    /// How often it was claimed.
    pub attempt: u32,
    pub owner: OwnerId,
    pub lease_until: Timestamp,
    pub created_at: Timestamp,
}

impl Reader {
    /// Every open order, oldest first.
    pub async fn command_list(&self) -> Result<Vec<OpenCommand>, StoreError> {
        use sea_orm::QueryOrder as _;
        let rows = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("open orders"))?;
        rows.into_iter().map(from_row).collect()
    }
}

impl Tx {
    /// Opens an order, claimed by its owner from birth: the process that writes it is the one that works
    /// on it, and a claim of its own would cost a second commit. An older order of the sandbox ends here.
    pub async fn command_open(&self, command: &OpenCommand) -> Result<(), StoreError> {
        let (goal, force) = goal_to_columns(command.goal);
        let row = Model {
            sandbox_id: command.sandbox.to_string(),
            generation: bigint(command.generation),
            goal: goal.to_owned(),
            force,
            attempt: command.attempt.into(),
            owner: command.owner.0.clone(),
            lease_until: command.lease_until.as_millisecond(),
            created_at: command.created_at.as_millisecond(),
        };
        Entity::insert(row.into_active_model())
            .on_conflict(
                OnConflict::column(Column::SandboxId)
                    .update_columns([
                        Column::Generation,
                        Column::Goal,
                        Column::Force,
                        Column::Attempt,
                        Column::Owner,
                        Column::LeaseUntil,
                        Column::CreatedAt,
                    ])
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("an order"))?;
        Ok(())
    }

    /// Claims an order for one more attempt, or renews the own lease without counting one. False if
    /// another owner holds it or it is no longer open under this generation.
    pub async fn command_claim(
        &self,
        sandbox: &SandboxId,
        generation: u64,
        owner: &OwnerId,
        now: Timestamp,
        lease_until: Timestamp,
        claim: Claim,
    ) -> Result<bool, StoreError> {
        let mut update = Entity::update_many()
            .col_expr(Column::Owner, Expr::value(owner.0.as_str()))
            .col_expr(
                Column::LeaseUntil,
                Expr::value(lease_until.as_millisecond()),
            )
            .filter(Column::SandboxId.eq(sandbox.as_str()))
            .filter(Column::Generation.eq(bigint(generation)));
        if claim != Claim::Renew {
            update = update.col_expr(Column::Attempt, Expr::col(Column::Attempt).add(1));
        }
        if claim != Claim::TakeOver {
            update = update.filter(
                Condition::any()
                    .add(Column::Owner.eq(owner.0.as_str()))
                    .add(Column::LeaseUntil.lt(now.as_millisecond())),
            );
        }
        let result = update
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the claim of an order"))?;
        Ok(result.rows_affected == 1)
    }

    /// Ends an order. False if it is no longer open under this generation.
    pub async fn command_finish(
        &self,
        sandbox: &SandboxId,
        generation: u64,
    ) -> Result<bool, StoreError> {
        let result = Entity::delete_many()
            .filter(Column::SandboxId.eq(sandbox.as_str()))
            .filter(Column::Generation.eq(bigint(generation)))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("the end of an order"))?;
        Ok(result.rows_affected == 1)
    }
}

/// What is asked of [`Tx::command_claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// One more attempt, if the order is ours or its lease has lapsed.
    Attempt,
    /// One more attempt, whoever holds the lease: the caller knows that the holder is dead.
    TakeOver,
    /// More time for the attempt under way.
    Renew,
}

fn goal_to_columns(goal: Goal) -> (&'static str, bool) {
    match goal {
        Goal::Running => ("running", false),
        Goal::Stopped { force } => ("stopped", force),
        Goal::Absent => ("absent", false),
        Goal::Paused => ("paused", false),
        Goal::Archived => ("archived", false),
        Goal::Resized => ("resized", false),
        Goal::Captured => ("captured", false),
        Goal::Copied => ("copied", false),
    }
}

fn from_row(row: Model) -> Result<OpenCommand, StoreError> {
    let place = |column| Place {
        table: "commands",
        column,
    };
    let goal = match row.goal.as_str() {
        "running" => Goal::Running,
        "stopped" => Goal::Stopped { force: row.force },
        "absent" => Goal::Absent,
        "paused" => Goal::Paused,
        "archived" => Goal::Archived,
        "resized" => Goal::Resized,
        "captured" => Goal::Captured,
        "copied" => Goal::Copied,
        other => return Err(place("goal").bad(other)),
    };
    Ok(OpenCommand {
        sandbox: place("sandbox_id").id(row.sandbox_id)?,
        generation: place("generation").unsigned(row.generation)?,
        goal,
        attempt: place("attempt").small(row.attempt)?,
        owner: OwnerId(row.owner),
        lease_until: place("lease_until").time(row.lease_until)?,
        created_at: place("created_at").time(row.created_at)?,
    })
}
