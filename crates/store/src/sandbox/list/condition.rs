//! From a filter to conditions.

use alcove_domain::{DesiredState, OrganizationId, SandboxFilter, SandboxState};
use jiff::Timestamp;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition};

use crate::entity::sandbox::{Column, Entity};
use crate::entity::sandbox_label;

/// How many characters of a label's value its index has; the migration has the same number.
const LABEL_START: usize = 200;

/// What every list shows: the organization's own that are there. Written as the indexes have it, since a value
/// that comes beside the statement does not tell the planner that they hold all rows.
pub(super) fn of_organization(org: &OrganizationId) -> Condition {
    Condition::all()
        .add(Column::OrganizationId.eq(org.as_str()))
        .add(Expr::cust("state <> 'destroyed'"))
}

/// Whether nearly every sandbox passes.
pub(super) fn is_open(filter: &SandboxFilter) -> bool {
    let open = SandboxFilter {
        include_errored_deleted: filter.include_errored_deleted,
        ..SandboxFilter::default()
    };
    *filter == open
}

/// The whole filter.
pub(super) fn filtered(org: &OrganizationId, filter: &SandboxFilter) -> Condition {
    let mut all = of_organization(org);
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
    all
}

/// A range, since that is what an index can answer on both databases.
pub(super) fn starts_with(column: Column, prefix: &str) -> Condition {
    Condition::all()
        .add(column.gte(prefix))
        .add_option(successor(prefix).map(|next| column.lt(next)))
}

/// The first text, by its bytes, that is behind every text with this start. None if there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        // The range of characters knows its gaps.
        if let Some(next) = (last..=char::MAX).nth(1) {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

fn has_label(key: &str, value: &str) -> Expr {
    use sandbox_label::{Column as Label, Entity as Labels};
    let own = Query::select()
        .expr(Expr::value(1))
        .from(Labels)
        .and_where(Expr::col((Labels, Label::SandboxId)).equals((Entity, Column::Id)))
        .and_where(Label::Key.eq(key))
        .and_where(Label::Value.eq(value))
        .take();
    Expr::exists(own)
}

/// Ids of sandboxes with a label, whoever owns them.
pub(super) fn labelled(key: &str, value: &str) -> SelectStatement {
    use sandbox_label::{Column as Label, Entity as Labels};
    let start: String = value.chars().take(LABEL_START).collect();
    Query::select()
        .column(Label::SandboxId)
        .from(Labels)
        .and_where(Label::Key.eq(key))
        .and_where(Expr::cust("substr(value, 1, 200)").eq(start))
        .and_where(Label::Value.eq(value))
        .take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_range_up_to_its_successor() {
        for (prefix, next) in [
            ("a", Some("b")),
            ("az", Some("a{")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(successor(prefix).as_deref(), next, "{prefix:?}");
        }
    }
}
