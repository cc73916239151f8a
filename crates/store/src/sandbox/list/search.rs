//! How a page is found among very many sandboxes.
//!
//! Pages are wanted in every sort under every filter, and no set of indexes answers them all directly. Three ways
//! are tried, each bounded:
//!
//! 1. Few candidates: one part of the filter (start of the id or name, a label, states, snapshots) is answered by
//!    an index of its own with so few sandboxes that looking at each is cheap.
//! 2. A walk: along the index of the sort, over a window of sandboxes. As a rule a page is full there.
//! 3. A scan: behind the window, over one index that has everything that is filtered and sorted by. The rows, which
//!    are many times its size, are read for the page alone.
//!
//! SQLite is told which index to take: it has no statistics, and its guesses are off by orders. PostgreSQL has
//! them and is left alone.

use std::collections::HashMap;

use alcove_domain::{OrganizationId, Sandbox, SandboxFilter, SandboxSort, SortOrder};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait,
    QueryFilter, QueryResult, Value,
};

use super::condition::{filtered, is_open, labelled, of_organization, starts_with};
use super::{SandboxCursor, SortKey};
use crate::StoreError;
use crate::entity::sandbox::{Column, Entity};
use crate::sandbox::from_row;
use crate::snapshot::to_order;

/// What keeps each way short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many sandboxes are few: looking at each takes some milliseconds.
    pub few: u64,
    /// How far a walk goes.
    pub window: u64,
}

pub(super) const BOUNDS: Bounds = Bounds {
    few: 1000,
    window: 2000,
};

/// One question about one organization, asked within one transaction.
pub(super) struct Search<'a> {
    pub db: &'a DatabaseTransaction,
    pub org: &'a OrganizationId,
    pub filter: &'a SandboxFilter,
    pub sort: SandboxSort,
    pub order: SortOrder,
    pub bounds: Bounds,
}

impl Search<'_> {
    pub async fn after(
        &self,
        after: Option<&SandboxCursor>,
        limit: u64,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let candidates = self.candidates().await?;
        let ids = match &candidates {
            Some(candidates) => {
                let few = self.question().and_where(is_one_of(candidates)).take();
                self.ids(self.sorted(few, after, 0, limit), None).await?
            }
            None => self.walk_and_scan(after, limit).await?,
        };
        self.rows(ids).await
    }

    pub async fn page(&self, offset: u64, limit: u64) -> Result<(Vec<Sandbox>, u64), StoreError> {
        let candidates = self.candidates().await?;
        let mut question = self.question();
        if let Some(candidates) = &candidates {
            question.and_where(is_one_of(candidates));
        }
        let index = candidates.is_none().then_some("sandboxes_search");
        let total = self.count(question.clone(), index).await?;
        let ids = if offset >= total {
            Vec::new()
        } else if candidates.is_none() && offset.saturating_add(limit) <= self.bounds.window {
            let mut ids = self.walk_and_scan(None, offset + limit).await?;
            ids.drain(..ids.len().min(usize::try_from(offset).unwrap_or(usize::MAX)));
            ids
        } else {
            self.ids(self.sorted(question, None, offset, limit), index)
                .await?
        };
        Ok((self.rows(ids).await?, total))
    }

    /// Ids of sandboxes that pass the filter.
    fn question(&self) -> SelectStatement {
        Query::select()
            .column(Column::Id)
            .from(Entity)
            .cond_where(filtered(self.org, self.filter))
            .take()
    }

    fn sorted(
        &self,
        mut query: SelectStatement,
        after: Option<&SandboxCursor>,
        offset: u64,
        limit: u64,
    ) -> SelectStatement {
        if let Some(after) = after {
            query.and_where(self.is_beyond(after));
        }
        query.order_by(column(self.sort), to_order(self.order));
        if self.sort != SandboxSort::Id {
            query.order_by(Column::Id, to_order(self.order));
        }
        if offset > 0 {
            query.offset(offset);
        }
        query.limit(limit).take()
    }

    async fn walk_and_scan(
        &self,
        after: Option<&SandboxCursor>,
        limit: u64,
    ) -> Result<Vec<String>, StoreError> {
        let index = Some(index(self.sort));
        let edge = if is_open(self.filter) {
            None
        } else {
            self.edge(after).await?
        };
        let Some(edge) = edge else {
            // The whole rest is within reach.
            let walk = self.sorted(self.question(), after, 0, limit);
            return self.ids(walk, index).await;
        };
        let window = self.question().and_where(self.is_up_to(&edge)).take();
        let mut ids = self
            .ids(self.sorted(window, after, 0, limit), index)
            .await?;
        let found = u64::try_from(ids.len()).unwrap_or(limit);
        if found < limit {
            let rest = self.sorted(self.question(), Some(&edge), 0, limit - found);
            ids.extend(self.ids(rest, Some("sandboxes_search")).await?);
        }
        Ok(ids)
    }

    /// The last place within the window behind `after`; None if the window reaches to the end.
    async fn edge(
        &self,
        after: Option<&SandboxCursor>,
    ) -> Result<Option<SandboxCursor>, StoreError> {
        let places = Query::select()
            .column(column(self.sort))
            .column(Column::Id)
            .from(Entity)
            .cond_where(of_organization(self.org))
            .cond_where(self.sorted_range())
            .take();
        let place = self.sorted(places, after, self.bounds.window, 1);
        let rows = self.query(&place, Some(index(self.sort))).await?;
        rows.first().map(|row| self.place(row)).transpose()
    }

    /// The part of the filter that bounds what is sorted by: a window elsewhere would find nothing.
    fn sorted_range(&self) -> Condition {
        let filter = self.filter;
        let (least, most) = match self.sort {
            SandboxSort::LastActivityAt => (filter.last_event_after, filter.last_event_before),
            SandboxSort::CreatedAt => (filter.created_after, filter.created_before),
            _ => (None, None),
        };
        let column = column(self.sort);
        Condition::all()
            .add_option(least.map(|at| column.gte(at.as_millisecond())))
            .add_option(most.map(|at| column.lte(at.as_millisecond())))
    }

    fn place(&self, row: &QueryResult) -> Result<SandboxCursor, StoreError> {
        let failed = || StoreError::read("a place in a list");
        let key = if is_text(self.sort) {
            SortKey::Text(row.try_get_by_index(0).map_err(failed())?)
        } else {
            SortKey::Number(row.try_get_by_index(0).map_err(failed())?)
        };
        // Sorted by the id, the two columns have one name.
        let id: String = row.try_get_by_index(1).map_err(failed())?;
        let place = crate::convert::Place {
            table: "sandboxes",
            column: "id",
        };
        Ok(SandboxCursor {
            key,
            id: place.id(id)?,
        })
    }

    /// Behind a place in the order of the list.
    fn is_beyond(&self, place: &SandboxCursor) -> Expr {
        let (here, there) = self.both(place);
        match self.order {
            SortOrder::Ascending => here.gt(there),
            SortOrder::Descending => here.lt(there),
        }
    }

    /// At a place or before it.
    fn is_up_to(&self, place: &SandboxCursor) -> Expr {
        let (here, there) = self.both(place);
        match self.order {
            SortOrder::Ascending => here.lte(there),
            SortOrder::Descending => here.gte(there),
        }
    }

    /// What is compared: the place of a row and this place. As pairs, which an index answers as one range.
    fn both(&self, place: &SandboxCursor) -> (Expr, Expr) {
        let key = match &place.key {
            SortKey::Text(text) => Value::from(text.clone()),
            SortKey::Number(number) => Value::from(*number),
        };
        (
            Expr::tuple([Expr::col(column(self.sort)), Expr::col(Column::Id)]),
            Expr::tuple([Expr::value(key), Expr::value(place.id.as_str())]),
        )
    }

    /// Ids among which all that pass the filter are, if some part of it leaves only few.
    async fn candidates(&self) -> Result<Option<Vec<String>>, StoreError> {
        let filter = self.filter;
        let own = |condition: Condition| {
            Query::select()
                .column(Column::Id)
                .from(Entity)
                .cond_where(of_organization(self.org))
                .cond_where(condition)
                .take()
        };
        let mut questions = Vec::new();
        if let Some(prefix) = &filter.id_prefix {
            questions.push((
                own(starts_with(Column::Id, prefix)),
                Some("sandboxes_by_id"),
            ));
        }
        if let Some(prefix) = &filter.name_prefix {
            let condition = starts_with(Column::NameLower, &prefix.to_lowercase());
            questions.push((own(condition), Some("sandboxes_by_name_lower")));
        }
        for (key, value) in &filter.labels {
            questions.push((labelled(key, value), None));
        }
        if !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| state.as_str());
            let condition = Condition::all().add(Column::State.is_in(states));
            questions.push((own(condition), Some("sandboxes_by_state")));
        }
        for (mut question, index) in questions {
            let limit = self.bounds.few + 1;
            let ids = self.ids(question.limit(limit).take(), index).await?;
            if u64::try_from(ids.len()).unwrap_or(limit) < limit {
                return Ok(Some(ids));
            }
        }
        Ok(None)
    }

    async fn count(
        &self,
        mut question: SelectStatement,
        index: Option<&str>,
    ) -> Result<u64, StoreError> {
        let question = question.clear_selects().expr(Expr::cust("COUNT(*)")).take();
        let rows = self.query(&question, index).await?;
        let count: i64 = match rows.first() {
            Some(row) => row
                .try_get_by_index(0)
                .map_err(StoreError::read("the number of sandboxes"))?,
            None => 0,
        };
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn ids(
        &self,
        query: SelectStatement,
        index: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.query(&query, index).await?;
        rows.iter()
            .map(|row| row.try_get_by_index(0))
            .collect::<Result<_, _>>()
            .map_err(StoreError::read("ids of sandboxes"))
    }

    async fn query(
        &self,
        query: &SelectStatement,
        index: Option<&str>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let backend = self.db.get_database_backend();
        let mut statement = backend.build(query);
        if let (DbBackend::Sqlite, Some(index)) = (backend, index) {
            // The builder has no word for it. The first mention of the table is the question's own.
            let hinted = format!("FROM \"sandboxes\" INDEXED BY \"{index}\"");
            statement.sql = statement.sql.replacen("FROM \"sandboxes\"", &hinted, 1);
        }
        self.db
            .query_all_raw(statement)
            .await
            .map_err(StoreError::read("sandboxes"))
    }

    /// The sandboxes with these ids, in their order.
    async fn rows(&self, ids: Vec<String>) -> Result<Vec<Sandbox>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = Entity::find()
            .filter(Column::Id.is_in(ids.iter()))
            .all(self.db)
            .await
            .map_err(StoreError::read("sandboxes"))?;
        let mut rows: HashMap<String, _> =
            rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        ids.iter()
            .filter_map(|id| rows.remove(id))
            .map(from_row)
            .collect()
    }
}

fn is_one_of(ids: &[String]) -> Expr {
    Column::Id.is_in(ids)
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

fn is_text(sort: SandboxSort) -> bool {
    match sort {
        SandboxSort::Name
        | SandboxSort::Id
        | SandboxSort::State
        | SandboxSort::Snapshot
        | SandboxSort::Region => true,
        SandboxSort::Cpu
        | SandboxSort::MemoryGib
        | SandboxSort::DiskGib
        | SandboxSort::LastActivityAt
        | SandboxSort::CreatedAt
        | SandboxSort::UpdatedAt => false,
    }
}

/// The index that has the organization's sandboxes in this order.
fn index(sort: SandboxSort) -> &'static str {
    match sort {
        SandboxSort::Name => "sandboxes_by_name",
        SandboxSort::Cpu => "sandboxes_by_cpu",
        SandboxSort::MemoryGib => "sandboxes_by_memory",
        SandboxSort::DiskGib => "sandboxes_by_disk",
        SandboxSort::LastActivityAt => "sandboxes_by_activity",
        SandboxSort::CreatedAt => "sandboxes_by_creation",
        SandboxSort::Id => "sandboxes_by_id",
        SandboxSort::State => "sandboxes_by_state",
        SandboxSort::Snapshot => "sandboxes_by_snapshot",
        SandboxSort::Region => "sandboxes_by_region",
        SandboxSort::UpdatedAt => "sandboxes_by_update",
    }
}
