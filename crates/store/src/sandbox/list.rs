//! Lists: filters, sorting, cursor and page.

mod condition;
mod search;
#[cfg(test)]
mod tests;

use alcove_domain::{OrganizationId, Sandbox, SandboxFilter, SandboxId, SandboxSort, SortOrder};
use sea_orm::{AccessMode, DbBackend, IsolationLevel, TransactionOptions, TransactionTrait};

use self::search::{BOUNDS, Search};
use crate::{Reader, StoreError};

/// The value of the column that a list is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    Text(String),
    Number(i64),
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxCursor {
    pub key: SortKey,
    pub id: SandboxId,
}

impl SandboxCursor {
    /// The place of `sandbox` in a list with this sort.
    pub fn of(sandbox: &Sandbox, sort: SandboxSort) -> Self {
        let key = match sort {
            SandboxSort::Name => SortKey::Text(sandbox.name.clone()),
            SandboxSort::Cpu => SortKey::Number(sandbox.resources.cpu_cores.into()),
            SandboxSort::MemoryGib => SortKey::Number(sandbox.resources.memory_gib.into()),
            SandboxSort::DiskGib => SortKey::Number(sandbox.resources.disk_gib.into()),
            SandboxSort::LastActivityAt => {
                SortKey::Number(sandbox.last_activity_at.as_millisecond())
            }
            SandboxSort::CreatedAt => SortKey::Number(sandbox.created_at.as_millisecond()),
            SandboxSort::Id => SortKey::Text(sandbox.id.to_string()),
            SandboxSort::State => {
                SortKey::Text(sandbox.lifecycle.phase.state().as_str().to_owned())
            }
            SandboxSort::Snapshot => SortKey::Text(sandbox.snapshot.clone()),
            SandboxSort::Region => SortKey::Text(sandbox.region.clone()),
            SandboxSort::UpdatedAt => SortKey::Number(sandbox.updated_at.as_millisecond()),
        };
        Self {
            key,
            id: sandbox.id.clone(),
        }
    }
}

impl Reader {
    /// At most `limit` sandboxes after `after`.
    pub async fn sandbox_list_after(
        &self,
        org: &OrganizationId,
        filter: &SandboxFilter,
        sort: SandboxSort,
        order: SortOrder,
        after: Option<&SandboxCursor>,
        limit: u64,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let tx = self.begin_list().await?;
        let search = Search {
            db: &tx,
            org,
            filter,
            sort,
            order,
            bounds: BOUNDS,
        };
        search.after(after, limit).await
    }

    /// At most `limit` sandboxes from the `offset`th on, and how many there are in all.
    pub async fn sandbox_list_page(
        &self,
        org: &OrganizationId,
        filter: &SandboxFilter,
        sort: SandboxSort,
        order: SortOrder,
        offset: u64,
        limit: u64,
    ) -> Result<(Vec<Sandbox>, u64), StoreError> {
        let tx = self.begin_list().await?;
        let search = Search {
            db: &tx,
            org,
            filter,
            sort,
            order,
            bounds: BOUNDS,
        };
        search.page(offset, limit).await
    }

    /// Several statements answer one question; they must not see each other's future.
    async fn begin_list(&self) -> Result<sea_orm::DatabaseTransaction, StoreError> {
        let mut options = TransactionOptions::default();
        // SQLite's readers see one state from their first statement on, whatever they ask for.
        if self.connection.get_database_backend() == DbBackend::Postgres {
            options.isolation_level = Some(IsolationLevel::RepeatableRead);
            options.access_mode = Some(AccessMode::ReadOnly);
        }
        self.connection
            .begin_with_options(options)
            .await
            .map_err(StoreError::read("sandboxes"))
    }
}
