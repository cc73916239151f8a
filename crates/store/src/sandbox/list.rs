//! Lists: filters, sorting, cursor and page.

use alcove_domain::{
    DesiredState, OrganizationId, Sandbox, SandboxFilter, SandboxId, SandboxSort, SandboxState,
    SortOrder,
};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _, LikeExpr, Query};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, Value,
};

use crate::entity::sandbox::{Column, Entity};
use crate::entity::sandbox_label;
use crate::sandbox::from_row;
use crate::snapshot::{escape_like, to_order};
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

fn column(sort: SandboxSort) -> Column {
    match sort {
        SandboxSort::Name => Column::Name,
        SandboxSort::Cpu => Column::CpuCores,
        SandboxSort::MemoryGib => Column::MemoryGib,
        SandboxSort::DiskGib => Column::DiskGib,
        SandboxSort::LastActivityAt => Column::LastActivityAt,
        SandboxSort::CreatedAt => Column::CreatedAt,
        SandboxSort::Id => Column::Id,
        SandboxSort::State => Column::State,
        SandboxSort::Snapshot => Column::Snapshot,
        SandboxSort::Region => Column::Region,
        SandboxSort::UpdatedAt => Column::UpdatedAt,
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
        let mut query = filtered(org, filter);
        if let Some(after) = after {
            query = query.filter(beyond(column(sort), order, after));
        }
        let rows = sorted(query, sort, order)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("sandboxes"))?;
        rows.into_iter().map(from_row).collect()
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
        let query = filtered(org, filter);
        let total = query
            .clone()
            .count(&self.connection)
            .await
            .map_err(StoreError::read("the number of sandboxes"))?;
        let rows = sorted(query, sort, order)
            .offset(offset)
            .limit(limit)
            .all(&self.connection)
            .await
            .map_err(StoreError::read("sandboxes"))?;
        let sandboxes = rows.into_iter().map(from_row).collect::<Result<_, _>>()?;
        Ok((sandboxes, total))
    }
}

fn sorted(query: Select<Entity>, sort: SandboxSort, order: SortOrder) -> Select<Entity> {
    let query = query.order_by(column(sort), to_order(order));
    if sort == SandboxSort::Id {
        query
    } else {
        query.order_by(Column::Id, to_order(order))
    }
}

fn beyond(column: Column, order: SortOrder, after: &SandboxCursor) -> Condition {
    let key = match &after.key {
        SortKey::Text(text) => Value::from(text.clone()),
        SortKey::Number(number) => Value::from(*number),
    };
    let id = after.id.as_str();
    let (further, later) = match order {
        SortOrder::Ascending => (column.gt(key.clone()), Column::Id.gt(id)),
        SortOrder::Descending => (column.lt(key.clone()), Column::Id.lt(id)),
    };
    Condition::any()
        .add(further)
        .add(Condition::all().add(column.eq(key)).add(later))
}

fn filtered(org: &OrganizationId, filter: &SandboxFilter) -> Select<Entity> {
    let mut all = Condition::all()
        .add(Column::OrganizationId.eq(org.as_str()))
        .add(Column::State.ne(SandboxState::Destroyed.as_str()));
    if !filter.include_errored_deleted {
        let errored = [
            SandboxState::Error.as_str(),
            SandboxState::BuildFailed.as_str(),
        ];
        all = all.add(
            Condition::any()
                .add(Column::DesiredState.ne(DesiredState::Destroyed.as_str()))
                .add(Column::State.is_not_in(errored)),
        );
    }
    if let Some(prefix) = &filter.id_prefix {
        all = all.add(starts_with(Column::Id, prefix));
    }
    if let Some(prefix) = &filter.name_prefix {
        all = all.add(starts_with(Column::NameLower, &prefix.to_lowercase()));
    }
    for (key, value) in &filter.labels {
        all = all.add(has_label(key, value));
    }
    if !filter.states.is_empty() {
        let states = filter.states.iter().map(|state| state.as_str());
        all = all.add(Column::State.is_in(states));
    }
    if !filter.snapshots.is_empty() {
        let snapshots = filter.snapshots.iter().map(String::as_str);
        all = all.add(
            Condition::any()
                .add(Column::Snapshot.is_in(snapshots.clone()))
                .add(Column::SnapshotId.is_in(snapshots)),
        );
    }
    if !filter.regions.is_empty() {
        all = all.add(Column::Region.is_in(filter.regions.iter().map(String::as_str)));
    }
    if !filter.classes.is_empty() {
        all = all.add(Column::Class.is_in(filter.classes.iter().map(|class| class.as_str())));
    }
    let numbers = [
        (Column::CpuCores, filter.min_cpu, filter.max_cpu),
        (
            Column::MemoryGib,
            filter.min_memory_gib,
            filter.max_memory_gib,
        ),
        (Column::DiskGib, filter.min_disk_gib, filter.max_disk_gib),
        (
            Column::CreatedAt,
            filter.created_after.map(Timestamp::as_millisecond),
            filter.created_before.map(Timestamp::as_millisecond),
        ),
        (
            Column::LastActivityAt,
            filter.last_event_after.map(Timestamp::as_millisecond),
            filter.last_event_before.map(Timestamp::as_millisecond),
        ),
        (
            Column::AutoDestroyAt,
            filter.auto_destroy_after.map(Timestamp::as_millisecond),
            filter.auto_destroy_before.map(Timestamp::as_millisecond),
        ),
    ];
    for (column, min, max) in numbers {
        all = all
            .add_option(min.map(|min| column.gte(min)))
            .add_option(max.map(|max| column.lte(max)));
    }
    all = all
        .add_option(
            filter
                .is_public
                .map(|is_public| Column::IsPublic.eq(is_public)),
        )
        .add_option(
            filter
                .is_recoverable
                .map(|is_recoverable| Column::IsRecoverable.eq(is_recoverable)),
        );
    Entity::find().filter(all)
}

fn starts_with(column: Column, prefix: &str) -> Expr {
    let pattern = format!("{}%", escape_like(prefix));
    Expr::col(column).like(LikeExpr::new(pattern).escape('\\'))
}

fn has_label(key: &str, value: &str) -> Expr {
    let with_label = Query::select()
        .column(sandbox_label::Column::SandboxId)
        .from(sandbox_label::Entity)
        .and_where(sandbox_label::Column::Key.eq(key))
        .and_where(sandbox_label::Column::Value.eq(value))
        .take();
    Column::Id.in_subquery(with_label)
}
