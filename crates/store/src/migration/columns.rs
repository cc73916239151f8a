//! How columns are declared. Part of every migration that uses it, so what is here does not change either.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub(super) fn text(backend: DbBackend, name: &'static str) -> ColumnDef {
    text_option(backend, name).not_null().take()
}

/// Texts sort by their bytes on both databases: cursors and prefixes must not depend on a server's language.
pub(super) fn text_option(backend: DbBackend, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    match backend {
        DbBackend::Postgres => column.custom(Alias::new("text COLLATE \"C\"")),
        _ => column.text(),
    };
    column
}

pub(super) fn big(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .big_integer()
        .not_null()
        .take()
}

pub(super) fn big_option(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().take()
}

pub(super) fn truth(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).boolean().not_null().take()
}

pub(super) fn table(
    name: &'static str,
    columns: impl IntoIterator<Item = ColumnDef>,
) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(Alias::new(name));
    for column in columns {
        table.col(column);
    }
    table
}
