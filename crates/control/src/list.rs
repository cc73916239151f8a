//! Lists of sandboxes and snapshots.

use alcove_domain::{
    CursorPage, OffsetPage, OrganizationId, Reason, Sandbox, SandboxFilter, SandboxSort,
    SandboxState, SnapshotSort, SortOrder,
};
use alcove_store::SandboxCursor;
use jiff::Timestamp;

use crate::Error;
use crate::cursor::{self, Question};
use crate::shared::Shared;

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 200;

/// A list by cursor. Absent values mean the documented defaults; limits are checked by the control
/// plane.
#[derive(Debug, Clone, Default)]
pub struct ListSandboxes {
    pub filter: SandboxFilter,
    /// `lastActivityAt` when absent; only the first six sorts are taken here.
    pub sort: Option<SandboxSort>,
    pub order: Option<SortOrder>,
    /// 1 to 200, 100 when absent.
    pub limit: Option<i64>,
    pub cursor: Option<String>,
}

/// A list by page number.
#[derive(Debug, Clone, Default)]
pub struct PageSandboxes {
    pub filter: SandboxFilter,
    /// `createdAt` when absent.
    pub sort: Option<SandboxSort>,
    pub order: Option<SortOrder>,
    pub limit: Option<i64>,
    pub page: Option<i64>,
}

/// A list of snapshots.
#[derive(Debug, Clone, Default)]
pub struct ListSnapshots {
    /// Part of the name.
    pub name: Option<String>,
    /// Id of the sandbox that they were made from.
    pub source_sandbox_id: Option<String>,
    /// Only those that were made from a sandbox.
    pub of_sandboxes: bool,
    /// Those of this project, and those of none.
    pub project: Option<String>,
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    /// `lastUsedAt` when absent; general snapshots come last.
    pub sort: Option<SnapshotSort>,
    pub order: Option<SortOrder>,
    pub limit: Option<i64>,
    pub page: Option<i64>,
}

/// A page number and size within their bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub number: u64,
    pub limit: u64,
}

impl Page {
    pub fn parse(number: Option<i64>, limit: Option<i64>) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        let page = Self {
            number: if let Ok(number @ 1..) = number.map_or(Ok(1), u64::try_from) {
                number
            } else {
                reasons.push(Reason::invalid("page must not be less than 1"));
                1
            },
            limit: parse_limit(limit, &mut reasons),
        };
        Error::check(reasons)?;
        Ok(page)
    }

    pub fn offset(self) -> u64 {
        // Past the end of everything is an empty page, so the largest offset will do.
        let offset = (self.number - 1).saturating_mul(self.limit);
        offset.min(i64::MAX.unsigned_abs())
    }
}

pub(crate) fn page_count(total: u64, limit: u64) -> u64 {
    total.div_ceil(limit)
}

pub(crate) fn parse_limit(limit: Option<i64>, reasons: &mut Vec<Reason>) -> u64 {
    match limit.map_or(Ok(LIMIT_DEFAULT), u64::try_from) {
        Ok(limit @ 1..=LIMIT_MAX) => return limit,
        Ok(0) | Err(_) => reasons.push(Reason::invalid("limit must not be less than 1")),
        Ok(_) => reasons.push(Reason::invalid(format!(
            "limit must not be greater than {LIMIT_MAX}"
        ))),
    }
    LIMIT_DEFAULT
}

fn check_states(filter: &SandboxFilter, reasons: &mut Vec<Reason>) {
    if filter.states.contains(&SandboxState::Destroyed) {
        reasons.push(Reason::invalid("states must not contain destroyed"));
    }
}

impl Shared {
    pub async fn list_sandboxes(
        &self,
        org: &OrganizationId,
        list: ListSandboxes,
    ) -> Result<CursorPage<Sandbox>, Error> {
        let mut reasons = Vec::new();
        let limit = parse_limit(list.limit, &mut reasons);
        check_states(&list.filter, &mut reasons);
        let sort = list.sort.unwrap_or(SandboxSort::LastActivityAt);
        if !is_cursor_sort(sort) {
            reasons.push(Reason::invalid(
                "sort must be one of name, cpu, memoryGib, diskGib, lastActivityAt, createdAt",
            ));
        }
        let order = list.order.unwrap_or(SortOrder::Descending);
        let question = Question {
            organization: org,
            filter: &list.filter,
            sort,
            order,
        };
        let after = list.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        let after = after.and_then(|text| {
            let cursor = cursor::open(&self.secrets.cursors, &question, text);
            if cursor.is_none() {
                reasons.push(Reason::invalid(
                    "cursor is not valid for this sort, order and filter",
                ));
            }
            cursor
        });
        Error::check(reasons)?;
        // One more than asked for tells whether there is a next page.
        let mut items = self
            .store
            .reader()
            .sandbox_list_after(org, &list.filter, sort, order, after.as_ref(), limit + 1)
            .await
            .map_err(|error| Error::store("listing sandboxes", error))?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = items.len() > wanted;
        items.truncate(wanted);
        let next_cursor = items
            .last()
            .filter(|_| has_more)
            .map(|last| SandboxCursor::of(last, sort))
            .map(|place| cursor::seal(&self.secrets.cursors, &question, &place));
        Ok(CursorPage { items, next_cursor })
    }

    pub async fn list_sandboxes_page(
        &self,
        org: &OrganizationId,
        list: PageSandboxes,
    ) -> Result<OffsetPage<Sandbox>, Error> {
        let mut reasons = Vec::new();
        check_states(&list.filter, &mut reasons);
        Error::check(reasons)?;
        let page = Page::parse(list.page, list.limit)?;
        let (items, total) = self
            .store
            .reader()
            .sandbox_list_page(
                org,
                &list.filter,
                list.sort.unwrap_or(SandboxSort::CreatedAt),
                list.order.unwrap_or(SortOrder::Descending),
                page.offset(),
                page.limit,
            )
            .await
            .map_err(|error| Error::store("listing sandboxes", error))?;
        Ok(OffsetPage {
            items,
            total,
            page: page.number,
            total_pages: page_count(total, page.limit),
        })
    }
}

fn is_cursor_sort(sort: SandboxSort) -> bool {
    match sort {
        SandboxSort::Name
        | SandboxSort::Cpu
        | SandboxSort::MemoryGib
        | SandboxSort::DiskGib
        | SandboxSort::LastActivityAt
        | SandboxSort::CreatedAt => true,
        SandboxSort::Id
        | SandboxSort::State
        | SandboxSort::Snapshot
        | SandboxSort::Region
        | SandboxSort::UpdatedAt => false,
    }
}
