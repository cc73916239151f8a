//! Which rows are wanted, as conditions.

use alcove_domain::audit::{NumberFilter, TextFilter};
use alcove_domain::{AuditFilter, AuditScope};
use sea_orm::{ColumnTrait as _, Condition};

use crate::entity::audit_row::Column;

pub(super) fn of(scope: &AuditScope, filter: &AuditFilter) -> Condition {
    let mut all = match scope {
        AuditScope::All => Condition::all(),
        AuditScope::Organization(org) => Condition::all().add(Column::Log.eq(org.as_str())),
        AuditScope::Target(org, target) => Condition::all()
            .add(Column::Log.eq(org.as_str()))
            .add(Column::TargetId.eq(target)),
    };
    for (column, wanted) in [
        (Column::Id, &filter.id),
        (Column::ActorId, &filter.actor_id),
        (Column::ActorEmail, &filter.actor_email),
        (Column::KeyPrefix, &filter.key_prefix),
        (Column::KeySuffix, &filter.key_suffix),
        (Column::Action, &filter.action),
        (Column::TargetType, &filter.target_type),
        (Column::TargetId, &filter.target_id),
    ] {
        all = text(all, column, wanted);
    }
    all = number(all, Column::Status, &filter.status);
    number(all, Column::CreatedAt, &filter.at)
}

pub(super) fn before(sequence: Option<i64>) -> Condition {
    let all = Condition::all();
    match sequence {
        Some(sequence) => all.add(Column::Sequence.lt(sequence)),
        None => all,
    }
}

/// What is not there is none of the unwanted.
fn unless(column: Column, unwanted: sea_orm::sea_query::SimpleExpr) -> Condition {
    Condition::any().add(column.is_null()).add(unwanted)
}

fn text(mut all: Condition, column: Column, wanted: &TextFilter) -> Condition {
    if let Some(equals) = &wanted.equals {
        all = all.add(column.eq(equals));
    }
    if let Some(not) = &wanted.not {
        all = all.add(unless(column, column.ne(not)));
    }
    if !wanted.among.is_empty() {
        all = all.add(column.is_in(&wanted.among));
    }
    if !wanted.not_among.is_empty() {
        all = all.add(unless(column, column.is_not_in(&wanted.not_among)));
    }
    all
}

fn number(mut all: Condition, column: Column, wanted: &NumberFilter) -> Condition {
    if let Some(equals) = wanted.equals {
        all = all.add(column.eq(equals));
    }
    if let Some(not) = wanted.not {
        all = all.add(unless(column, column.ne(not)));
    }
    if !wanted.among.is_empty() {
        all = all.add(column.is_in(wanted.among.iter().copied()));
    }
    if !wanted.not_among.is_empty() {
        let unwanted = column.is_not_in(wanted.not_among.iter().copied());
        all = all.add(unless(column, unwanted));
    }
    if let Some(from) = wanted.from {
        all = all.add(column.gte(from));
    }
    if let Some(to) = wanted.to {
        all = all.add(column.lte(to));
    }
    if let Some(above) = wanted.above {
        all = all.add(column.gt(above));
    }
    if let Some(below) = wanted.below {
        all = all.add(column.lt(below));
    }
    all
}
