//! The ledger of what sandboxes count against limits.
//!
//! Every write of a sandbox writes its entry and the total of its organization, region and class with it, in one
//! transaction, and its period of usage (`usage_period.rs`). All of them follow from the rows of the sandboxes, so they can be counted anew at any time and must then
//! come out the same.

use std::collections::{BTreeMap, BTreeSet};

use alcove_domain::{
    DesiredState, Resources, Sandbox, SandboxClass, SandboxId, SandboxState, Usage,
};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};

use crate::convert::{Place, bigint};
use crate::entity::{sandbox, usage_entry, usage_total};
use crate::quota::QuotaKey;
use crate::sandbox::row;
use crate::usage_period;
use crate::{Reader, StoreError, Tx};

impl QuotaKey {
    /// The limits and totals that a sandbox belongs to.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self {
            organization: sandbox.organization_id.clone(),
            region: sandbox.region.clone(),
            class: sandbox.class,
        }
    }
}

/// Entries and totals by what they belong to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ledger {
    entries: BTreeMap<SandboxId, (QuotaKey, Usage)>,
    totals: BTreeMap<QuotaKey, Usage>,
    /// What counts now by the periods that go on: processors, memory, disk and GPUs.
    open: BTreeMap<SandboxId, [u64; 4]>,
}

impl Reader {
    /// What all sandboxes of an organization, region and class count together.
    pub async fn usage_total(&self, key: &QuotaKey) -> Result<Usage, StoreError> {
        total(&self.connection, key).await
    }

    /// What all sandboxes of a region count together, whoever's they are.
    pub async fn usage_of_region(&self, region: &str) -> Result<Usage, StoreError> {
        of_region(&self.connection, region).await
    }

    /// Whether the ledger is what counting the sandboxes anew gives. Reads every sandbox: not for every day.
    pub async fn usage_is_exact(&self) -> Result<bool, StoreError> {
        Ok(counted(&self.connection).await? == written(&self.connection).await?)
    }
}

impl Tx {
    /// As [`Reader::usage_total`], within the transaction: with what it has written.
    pub async fn usage_total(&self, key: &QuotaKey) -> Result<Usage, StoreError> {
        total(&self.transaction, key).await
    }

    /// Counts the sandboxes anew and mends the ledger, from this time on. False if there was nothing to mend.
    pub async fn usage_recount(&self, at: Timestamp) -> Result<bool, StoreError> {
        let counted = counted(&self.transaction).await?;
        let written = written(&self.transaction).await?;
        if counted == written {
            return Ok(false);
        }
        let wrong: BTreeSet<&SandboxId> = counted
            .entries
            .keys()
            .chain(written.entries.keys())
            .chain(written.open.keys())
            .filter(|id| {
                counted.entries.get(*id) != written.entries.get(*id)
                    || counted.open.get(*id) != written.open.get(*id)
            })
            .collect();
        for id in wrong {
            self.entry_delete(id).await?;
            self.usage_period_end(id, at).await?;
            if let Some((key, usage)) = counted.entries.get(id) {
                self.entry_put(id, key, usage).await?;
                self.usage_period_begin(id, key, usage, at).await?;
            }
        }
        usage_total::Entity::delete_many()
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("usage"))?;
        for (key, usage) in &counted.totals {
            self.total_add(key, &Usage::default(), usage).await?;
        }
        Ok(true)
    }

    /// Enters a sandbox that is inserted in this transaction.
    pub(crate) async fn usage_enter(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        self.usage_move(sandbox, &Usage::default()).await
    }

    /// Brings the ledger in line with a sandbox that is written in this transaction.
    pub(crate) async fn usage_follow(&self, sandbox: &Sandbox) -> Result<(), StoreError> {
        let row = usage_entry::Entity::find_by_id(sandbox.id.as_str())
            .one(&self.transaction)
            .await
            .map_err(StoreError::read("usage"))?;
        let before = row
            .as_ref()
            .map(entry_usage)
            .transpose()?
            .unwrap_or_default();
        self.usage_move(sandbox, &before).await
    }

    async fn usage_move(&self, sandbox: &Sandbox, before: &Usage) -> Result<(), StoreError> {
        let after = Usage::of(sandbox);
        if *before == after {
            return Ok(());
        }
        let key = QuotaKey::of(sandbox);
        if after.is_nothing() {
            self.entry_delete(&sandbox.id).await?;
        } else {
            self.entry_put(&sandbox.id, &key, &after).await?;
        }
        self.usage_period_change(sandbox, &after).await?;
        self.total_add(&key, before, &after).await
    }

    async fn entry_delete(&self, id: &SandboxId) -> Result<(), StoreError> {
        usage_entry::Entity::delete_by_id(id.as_str())
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("usage"))?;
        Ok(())
    }

    async fn entry_put(
        &self,
        id: &SandboxId,
        key: &QuotaKey,
        usage: &Usage,
    ) -> Result<(), StoreError> {
        use usage_entry::Column;
        let row = usage_entry::Model {
            sandbox_id: id.to_string(),
            organization_id: key.organization.to_string(),
            region: key.region.clone(),
            class: key.class.as_str().to_owned(),
            sandboxes: bigint(usage.sandboxes),
            cpu_cores: bigint(usage.cpu_cores),
            memory_gib: bigint(usage.memory_gib),
            disk_gib: bigint(usage.disk_gib),
            gpu: bigint(usage.gpu),
        };
        usage_entry::Entity::insert(row.into_active_model().reset_all())
            .on_conflict(
                OnConflict::column(Column::SandboxId)
                    .update_columns([
                        Column::Sandboxes,
                        Column::CpuCores,
                        Column::MemoryGib,
                        Column::DiskGib,
                        Column::Gpu,
                    ])
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("usage"))?;
        Ok(())
    }

    async fn total_add(
        &self,
        key: &QuotaKey,
        before: &Usage,
        after: &Usage,
    ) -> Result<(), StoreError> {
        use usage_total::{Column, Entity};
        let change = |before, after| bigint(after) - bigint(before);
        let row = usage_total::Model {
            organization_id: key.organization.to_string(),
            region: key.region.clone(),
            class: key.class.as_str().to_owned(),
            sandboxes: change(before.sandboxes, after.sandboxes),
            cpu_cores: change(before.cpu_cores, after.cpu_cores),
            memory_gib: change(before.memory_gib, after.memory_gib),
            disk_gib: change(before.disk_gib, after.disk_gib),
            gpu: change(before.gpu, after.gpu),
        };
        let sum = |column: Column, change: i64| (column, Expr::col((Entity, column)).add(change));
        let sums = [
            sum(Column::Sandboxes, row.sandboxes),
            sum(Column::CpuCores, row.cpu_cores),
            sum(Column::MemoryGib, row.memory_gib),
            sum(Column::DiskGib, row.disk_gib),
            sum(Column::Gpu, row.gpu),
        ];
        Entity::insert(row.into_active_model().reset_all())
            .on_conflict(
                OnConflict::columns([Column::OrganizationId, Column::Region, Column::Class])
                    .values(sums)
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("usage"))?;
        Ok(())
    }
}

async fn total(db: &impl ConnectionTrait, key: &QuotaKey) -> Result<Usage, StoreError> {
    let id = (
        key.organization.to_string(),
        key.region.clone(),
        key.class.as_str().to_owned(),
    );
    let row = usage_total::Entity::find_by_id(id)
        .one(db)
        .await
        .map_err(StoreError::read("usage"))?;
    row.as_ref().map_or(Ok(Usage::default()), total_usage)
}

/// What all sandboxes of a region count together, whoever's they are.
pub(crate) async fn of_region(
    db: &impl ConnectionTrait,
    region: &str,
) -> Result<Usage, StoreError> {
    let rows = usage_total::Entity::find()
        .filter(usage_total::Column::Region.eq(region))
        .all(db)
        .await
        .map_err(StoreError::read("usage"))?;
    rows.iter().try_fold(
        Usage::default(),
        |sum, row| Ok(sum.plus(&total_usage(row)?)),
    )
}

/// The ledger as it stands.
async fn written(db: &impl ConnectionTrait) -> Result<Ledger, StoreError> {
    let mut ledger = Ledger::default();
    let failed = || StoreError::read("usage");
    for row in usage_entry::Entity::find()
        .all(db)
        .await
        .map_err(failed())?
    {
        let key = key_of(&row.organization_id, &row.region, &row.class)?;
        let usage = entry_usage(&row)?;
        let id = place("sandbox_id").id(row.sandbox_id)?;
        ledger.entries.insert(id, (key, usage));
    }
    for row in usage_total::Entity::find()
        .all(db)
        .await
        .map_err(failed())?
    {
        let usage = total_usage(&row)?;
        if !usage.is_nothing() {
            let key = key_of(&row.organization_id, &row.region, &row.class)?;
            ledger.totals.insert(key, usage);
        }
    }
    for period in usage_period::open(db).await? {
        let amounts = [
            period.cpu_cores,
            period.memory_gib,
            period.disk_gib,
            period.gpu,
        ];
        ledger.open.insert(period.sandbox, amounts);
    }
    Ok(ledger)
}

fn amounts(usage: &Usage) -> [u64; 4] {
    [usage.cpu_cores, usage.memory_gib, usage.disk_gib, usage.gpu]
}

/// The ledger as it should be.
async fn counted(db: &impl ConnectionTrait) -> Result<Ledger, StoreError> {
    use sandbox::Column;
    type Row = (
        String,
        String,
        String,
        String,
        String,
        String,
        bool,
        i64,
        i64,
        i64,
        i64,
        Option<String>,
    );
    let rows: Vec<Row> = sandbox::Entity::find()
        .select_only()
        .columns([
            Column::Id,
            Column::OrganizationId,
            Column::Region,
            Column::Class,
            Column::State,
            Column::DesiredState,
            Column::HasDisk,
            Column::CpuCores,
            Column::MemoryGib,
            Column::DiskGib,
            Column::Gpu,
            Column::Work,
        ])
        .filter(Column::State.ne(SandboxState::Destroyed.as_str()))
        .into_tuple()
        .all(db)
        .await
        .map_err(StoreError::read("sandboxes"))?;
    let place = |column| Place {
        table: "sandboxes",
        column,
    };
    let mut ledger = Ledger::default();
    for (id, org, region, class, state, desired, has_disk, cpu, memory, disk, gpu, work) in rows {
        let has = Resources {
            cpu_cores: place("cpu_cores").small(cpu)?,
            memory_gib: place("memory_gib").small(memory)?,
            disk_gib: place("disk_gib").small(disk)?,
            gpu: place("gpu").small(gpu)?,
        };
        let usage = Usage::in_state(
            place("state").word(&state, SandboxState::parse)?,
            place("desired_state").word(&desired, DesiredState::parse)?,
            has_disk,
            &match row::resize_target(work.as_deref())? {
                Some(to) => has.max(to),
                None => has,
            },
        );
        if usage.is_nothing() {
            continue;
        }
        let key = key_of(&org, &region, &class)?;
        let total = ledger.totals.entry(key.clone()).or_default();
        total.sandboxes += usage.sandboxes;
        total.cpu_cores += usage.cpu_cores;
        total.memory_gib += usage.memory_gib;
        total.disk_gib += usage.disk_gib;
        total.gpu += usage.gpu;
        let id: SandboxId = place("id").id(id)?;
        ledger.open.insert(id.clone(), amounts(&usage));
        ledger.entries.insert(id, (key, usage));
    }
    Ok(ledger)
}

fn place(column: &'static str) -> Place {
    Place {
        table: "usage_entries or usage_totals",
        column,
    }
}

fn key_of(org: &str, region: &str, class: &str) -> Result<QuotaKey, StoreError> {
    Ok(QuotaKey {
        organization: place("organization_id").id(org.to_owned())?,
        region: region.to_owned(),
        class: place("class").word(class, SandboxClass::parse)?,
    })
}

fn entry_usage(row: &usage_entry::Model) -> Result<Usage, StoreError> {
    Ok(Usage {
        sandboxes: place("sandboxes").unsigned(row.sandboxes)?,
        cpu_cores: place("cpu_cores").unsigned(row.cpu_cores)?,
        memory_gib: place("memory_gib").unsigned(row.memory_gib)?,
        disk_gib: place("disk_gib").unsigned(row.disk_gib)?,
        gpu: place("gpu").unsigned(row.gpu)?,
    })
}

fn total_usage(row: &usage_total::Model) -> Result<Usage, StoreError> {
    Ok(Usage {
        sandboxes: place("sandboxes").unsigned(row.sandboxes)?,
        cpu_cores: place("cpu_cores").unsigned(row.cpu_cores)?,
        memory_gib: place("memory_gib").unsigned(row.memory_gib)?,
        disk_gib: place("disk_gib").unsigned(row.disk_gib)?,
        gpu: place("gpu").unsigned(row.gpu)?,
    })
}
