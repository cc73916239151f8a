//! What sandboxes counted against limits over time: the ledger's past.
//!
//! A period begins when what a sandbox counts changes, and ends when it changes again, both in the transaction that changes
//! the ledger. So those that go on are the ledger itself, and counting from them gives its entries.

use alcove_domain::{
    OffsetPage, OrganizationId, Sandbox, SandboxClass, SandboxId, Usage, UsagePeriod,
};
use jiff::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ColumnTrait, Condition, ConnectionTrait,
    EntityTrait, IntoActiveModel as _, PaginatorTrait as _, QueryFilter, QueryOrder as _,
    QuerySelect as _, Select,
};

use crate::convert::{Place, bigint};
use crate::entity::usage_period::{ActiveModel, Column, Entity, Model};
use crate::quota::QuotaKey;
use crate::{Reader, StoreError, Tx};

/// Which periods are wanted: those of an organization that have a part in a time.
#[derive(Debug, Clone)]
pub struct UsagePeriods {
    pub organization: OrganizationId,
    pub sandbox: Option<SandboxId>,
    pub from: Timestamp,
    /// Not included.
    pub to: Timestamp,
}

impl UsagePeriods {
    fn select(&self) -> Select<Entity> {
        let to = self.to.as_millisecond();
        let from = self.from.as_millisecond();
        let is_after = Condition::any()
            .add(Column::EndedAt.is_null())
            .add(Column::EndedAt.gt(from));
        let mut select = Entity::find()
            .filter(Column::OrganizationId.eq(self.organization.as_str()))
            .filter(Column::StartedAt.lt(to))
            .filter(is_after);
        if let Some(sandbox) = &self.sandbox {
            select = select.filter(Column::SandboxId.eq(sandbox.as_str()));
        }
        select
    }
}

impl Reader {
    /// A page of them, the oldest first. Pages count from 1.
    pub async fn usage_period_page(
        &self,
        wanted: &UsagePeriods,
        page: u64,
        limit: u64,
    ) -> Result<OffsetPage<UsagePeriod>, StoreError> {
        let failed = || StoreError::read("usage over time");
        let total = wanted.select().count(&self.connection).await;
        let total = total.map_err(failed())?;
        let rows = wanted
            .select()
            .order_by_asc(Column::StartedAt)
            .order_by_asc(Column::Id)
            .offset(
                (page - 1)
                    .saturating_mul(limit)
                    .min(i64::MAX.unsigned_abs()),
            )
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(failed())?;
        Ok(OffsetPage {
            items: rows.into_iter().map(from_row).collect::<Result<_, _>>()?,
            total,
            page,
            total_pages: total.div_ceil(limit),
        })
    }
}

impl Tx {
    /// Ends the period of a sandbox that goes on, if there is one, and begins another where it still counts something.
    pub(crate) async fn usage_period_change(
        &self,
        sandbox: &Sandbox,
        usage: &Usage,
    ) -> Result<(), StoreError> {
        self.usage_period_end(&sandbox.id, sandbox.updated_at)
            .await?;
        if usage.is_nothing() {
            return Ok(());
        }
        let key = QuotaKey::of(sandbox);
        self.usage_period_begin(&sandbox.id, &key, usage, sandbox.updated_at)
            .await
    }

    pub(crate) async fn usage_period_end(
        &self,
        sandbox: &SandboxId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::EndedAt, Expr::value(at.as_millisecond()))
            .filter(Column::SandboxId.eq(sandbox.as_str()))
            .filter(Column::EndedAt.is_null())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("usage over time"))?;
        Ok(())
    }

    pub(crate) async fn usage_period_begin(
        &self,
        sandbox: &SandboxId,
        key: &QuotaKey,
        usage: &Usage,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = Model {
            id: 0,
            sandbox_id: sandbox.to_string(),
            organization_id: key.organization.to_string(),
            region: key.region.clone(),
            class: key.class.as_str().to_owned(),
            cpu_cores: bigint(usage.cpu_cores),
            memory_gib: bigint(usage.memory_gib),
            disk_gib: bigint(usage.disk_gib),
            gpu: bigint(usage.gpu),
            started_at: at.as_millisecond(),
            ended_at: None,
        };
        let row = ActiveModel {
            id: NotSet,
            ..row.into_active_model().reset_all()
        };
        Entity::insert(row)
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("usage over time"))?;
        Ok(())
    }

    /// Removes those that ended before a time.
    pub async fn usage_period_prune(&self, before: Timestamp) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::EndedAt.lt(before.as_millisecond()))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("usage over time"))?;
        Ok(())
    }
}

/// Those of all organizations that go on.
pub(crate) async fn open(db: &impl ConnectionTrait) -> Result<Vec<UsagePeriod>, StoreError> {
    let rows = Entity::find()
        .filter(Column::EndedAt.is_null())
        .all(db)
        .await
        .map_err(StoreError::read("usage over time"))?;
    rows.into_iter().map(from_row).collect()
}

fn from_row(row: Model) -> Result<UsagePeriod, StoreError> {
    let place = |column| Place {
        table: "usage_periods",
        column,
    };
    Ok(UsagePeriod {
        sandbox: place("sandbox_id").id(row.sandbox_id)?,
        region: row.region,
        class: place("class").word(&row.class, SandboxClass::parse)?,
        cpu_cores: place("cpu_cores").unsigned(row.cpu_cores)?,
        memory_gib: place("memory_gib").unsigned(row.memory_gib)?,
        disk_gib: place("disk_gib").unsigned(row.disk_gib)?,
        gpu: place("gpu").unsigned(row.gpu)?,
        started_at: place("started_at").time(row.started_at)?,
        ended_at: row
            .ended_at
            .map(|at| place("ended_at").time(at))
            .transpose()?,
    })
}
