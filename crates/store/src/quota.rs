//! Limits of organizations.

use alcove_domain::{OrganizationId, Quota, Sandbox, SandboxClass, Usage};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder,
};

use crate::convert::{Place, bigint};
use crate::entity::quota::{Column, Entity, Model};
use crate::{Reader, StoreError, Tx};

/// What limits and totals are kept for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaKey {
    pub organization: OrganizationId,
    /// Region id.
    pub region: String,
    pub class: SandboxClass,
}

impl Reader {
    /// The limits, where there are any.
    pub async fn quota_find(&self, key: &QuotaKey) -> Result<Option<Quota>, StoreError> {
        find(&self.connection, key).await
    }

    /// Whether a sandbox that is not written yet would be within the limits. Only [`Tx::quota_hold`] is sure.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] with the first limit that would be passed.
    pub async fn quota_fits(&self, sandbox: &Sandbox, otherwise: &Quota) -> Result<(), StoreError> {
        let key = QuotaKey::of(sandbox);
        let own = self.quota_find(&key).await?;
        let quota = own.as_ref().unwrap_or(otherwise);
        if *quota == Quota::default() {
            return Ok(());
        }
        let usage = Usage::of(sandbox);
        let totals = self.usage_total(&key).await?.plus(&usage);
        hold(quota, None, sandbox, &totals)
    }

    /// All limits of an organization.
    pub async fn quota_list(
        &self,
        org: &OrganizationId,
    ) -> Result<Vec<(QuotaKey, Quota)>, StoreError> {
        let rows = Entity::find()
            .filter(Column::OrganizationId.eq(org.as_str()))
            .order_by_asc(Column::Region)
            .order_by_asc(Column::Class)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("quotas"))?;
        rows.into_iter()
            .map(|row| Ok((key_from_row(&row)?, from_row(&row)?)))
            .collect()
    }
}

impl Tx {
    /// As [`Reader::quota_find`], within the transaction.
    pub async fn quota_find(&self, key: &QuotaKey) -> Result<Option<Quota>, StoreError> {
        find(&self.transaction, key).await
    }

    /// Holds what a sandbox came to against the limits, after it was written in this transaction. `before` is the
    /// sandbox as it was, None for a new one; `otherwise` are the limits where the organization has none of its own.
    /// Writers take turns, so nobody comes between this and the commit.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] with the first limit that is passed; the caller lets the transaction fall.
    pub async fn quota_hold(
        &self,
        before: Option<&Sandbox>,
        after: &Sandbox,
        otherwise: &Quota,
    ) -> Result<(), StoreError> {
        let key = QuotaKey::of(after);
        let own = self.quota_find(&key).await?;
        let quota = own.as_ref().unwrap_or(otherwise);
        if *quota == Quota::default() {
            return Ok(());
        }
        hold(quota, before, after, &self.usage_total(&key).await?)
    }

    /// Sets the limits, in place of those that there may be.
    pub async fn quota_put(&self, key: &QuotaKey, quota: &Quota) -> Result<(), StoreError> {
        let row = Model {
            organization_id: key.organization.to_string(),
            region: key.region.clone(),
            class: key.class.as_str().to_owned(),
            total_sandboxes: quota.total_sandboxes.map(bigint),
            total_cpu_cores: quota.total_cpu_cores.map(bigint),
            total_memory_gib: quota.total_memory_gib.map(bigint),
            total_disk_gib: quota.total_disk_gib.map(bigint),
            total_gpu: quota.total_gpu.map(bigint),
            sandbox_cpu_cores: quota.sandbox_cpu_cores.map(Into::into),
            sandbox_memory_gib: quota.sandbox_memory_gib.map(Into::into),
            sandbox_disk_gib: quota.sandbox_disk_gib.map(Into::into),
            sandbox_lasting_disk_gib: quota.sandbox_lasting_disk_gib.map(Into::into),
        };
        Entity::insert(row.into_active_model().reset_all())
            .on_conflict(
                OnConflict::columns([Column::OrganizationId, Column::Region, Column::Class])
                    .update_columns([
                        Column::TotalSandboxes,
                        Column::TotalCpuCores,
                        Column::TotalMemoryGib,
                        Column::TotalDiskGib,
                        Column::TotalGpu,
                        Column::SandboxCpuCores,
                        Column::SandboxMemoryGib,
                        Column::SandboxDiskGib,
                        Column::SandboxLastingDiskGib,
                    ])
                    .to_owned(),
            )
            .exec_without_returning(&self.transaction)
            .await
            .map_err(StoreError::write("a quota"))?;
        Ok(())
    }

    /// Takes the limits away. False if there were none.
    pub async fn quota_delete(&self, key: &QuotaKey) -> Result<bool, StoreError> {
        let result = Entity::delete_by_id(id(key))
            .exec(&self.transaction)
            .await
            .map_err(StoreError::write("a quota"))?;
        Ok(result.rows_affected == 1)
    }
}

/// Holds a sandbox and the totals that it has led to against the limits.
fn hold(
    quota: &Quota,
    before: Option<&Sandbox>,
    after: &Sandbox,
    totals: &Usage,
) -> Result<(), StoreError> {
    let sizes = |sandbox: &Sandbox| Usage::sizes(&sandbox.lifecycle.phase, sandbox.resources);
    if before.is_none_or(|before| sizes(before) != sizes(after)) {
        quota
            .check_sandbox(&sizes(after), after.is_ephemeral())
            .map_err(StoreError::OverQuota)?;
    }
    let before = before.map(Usage::of).unwrap_or_default();
    quota
        .check_totals(totals, &before, &Usage::of(after))
        .map_err(StoreError::OverQuota)
}

fn id(key: &QuotaKey) -> (String, String, String) {
    (
        key.organization.to_string(),
        key.region.clone(),
        key.class.as_str().to_owned(),
    )
}

async fn find(db: &impl ConnectionTrait, key: &QuotaKey) -> Result<Option<Quota>, StoreError> {
    let row = Entity::find_by_id(id(key))
        .one(db)
        .await
        .map_err(StoreError::read("a quota"))?;
    row.as_ref().map(from_row).transpose()
}

fn place(column: &'static str) -> Place {
    Place {
        table: "quotas",
        column,
    }
}

fn key_from_row(row: &Model) -> Result<QuotaKey, StoreError> {
    Ok(QuotaKey {
        organization: place("organization_id").id(row.organization_id.clone())?,
        region: row.region.clone(),
        class: place("class").word(&row.class, SandboxClass::parse)?,
    })
}

fn from_row(row: &Model) -> Result<Quota, StoreError> {
    let total = |column, number: Option<i64>| {
        number
            .map(|number| place(column).unsigned(number))
            .transpose()
    };
    let each = |column, number| place(column).small_option(number);
    Ok(Quota {
        total_sandboxes: total("total_sandboxes", row.total_sandboxes)?,
        total_cpu_cores: total("total_cpu_cores", row.total_cpu_cores)?,
        total_memory_gib: total("total_memory_gib", row.total_memory_gib)?,
        total_disk_gib: total("total_disk_gib", row.total_disk_gib)?,
        total_gpu: total("total_gpu", row.total_gpu)?,
        sandbox_cpu_cores: each("sandbox_cpu_cores", row.sandbox_cpu_cores)?,
        sandbox_memory_gib: each("sandbox_memory_gib", row.sandbox_memory_gib)?,
        sandbox_disk_gib: each("sandbox_disk_gib", row.sandbox_disk_gib)?,
        sandbox_lasting_disk_gib: each("sandbox_lasting_disk_gib", row.sandbox_lasting_disk_gib)?,
    })
}
