//! Lists of sandboxes: by cursor, by page, and the bare array of clients before 0.108.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{self as api, SandboxPage, SandboxesList};
use alcove_control::{Caller, ListSandboxes, PageSandboxes};
use alcove_domain::{SandboxClass, SandboxFilter, SandboxSort, SandboxState, SortOrder};
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, ClientEra, QueryOf};
use crate::present;
use crate::query::Query;

/// The longest array that clients without pages get. They hold all of it in memory.
const ARRAY_MAX: usize = 10_000;
/// The largest page.
const PAGE_MAX: i64 = 200;

/// Sandboxes of the caller's organization.
#[utoipa::path(get, path = "/api/sandbox", tag = "sandbox", operation_id = "listSandboxes",
    params(
        ("cursor" = Option<String>, Query), ("limit" = Option<i64>, Query),
        ("id" = Option<String>, Query, description = "Start of the id"),
        ("name" = Option<String>, Query, description = "Start of the name, in any case"),
        ("labels" = Option<String>, Query, description = "JSON object; all must match"),
        ("includeErroredDeleted" = Option<bool>, Query),
        ("includeWarm" = Option<bool>, Query,
            description = "Adds none: sandboxes of warm pools belong to no organization before they are taken"),
        ("states" = Option<Vec<api::SandboxState>>, Query),
        ("snapshots" = Option<Vec<String>>, Query),
        ("regionIds" = Option<Vec<String>>, Query),
        ("sandboxClasses" = Option<Vec<String>>, Query),
        ("minCpu" = Option<i64>, Query), ("maxCpu" = Option<i64>, Query),
        ("minMemoryGiB" = Option<i64>, Query), ("maxMemoryGiB" = Option<i64>, Query),
        ("minDiskGiB" = Option<i64>, Query), ("maxDiskGiB" = Option<i64>, Query),
        ("isPublic" = Option<bool>, Query), ("isRecoverable" = Option<bool>, Query),
        ("createdAtAfter" = Option<String>, Query), ("createdAtBefore" = Option<String>, Query),
        ("lastEventAfter" = Option<String>, Query), ("lastEventBefore" = Option<String>, Query),
        ("autoDestroyAtAfter" = Option<String>, Query),
        ("autoDestroyAtBefore" = Option<String>, Query),
        ("sort" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = SandboxesList), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    if era.lists_arrays() {
        let sandboxes = all(&app, &caller, query).await?;
        return Ok(present::sandboxes_answer(era, &sandboxes));
    }
    let list = ListSandboxes {
        filter: filter(&mut query),
        sort: query.word("sort", cursor_sort),
        order: query.word("order", order),
        limit: query.integer("limit"),
        cursor: query.text("cursor"),
    };
    let has_gpu = asks_for_gpu(&mut query);
    // Whichever it is: nobody owns what is warm.
    query.boolean("includeWarm");
    query.finish()?;
    if has_gpu {
        return Ok(present::sandboxes_answer(
            era,
            &SandboxesList {
                items: Vec::new(),
                next_cursor: None,
            },
        ));
    }
    let page = app.control().list_sandboxes(&caller, list).await?;
    let page = SandboxesList {
        items: page
            .items
            .iter()
            .map(|sandbox| present::sandbox(&app, sandbox).into())
            .collect(),
        next_cursor: page.next_cursor,
    };
    Ok(present::sandboxes_answer(era, &page))
}

/// Sandboxes by page number, for clients of 0.108 to 0.179.
#[utoipa::path(get, path = "/api/sandbox/paginated", tag = "sandbox",
    operation_id = "listSandboxesPaginated_deprecated",
    params(
        ("page" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("id" = Option<String>, Query), ("name" = Option<String>, Query),
        ("labels" = Option<String>, Query), ("includeErroredDeleted" = Option<bool>, Query),
        ("states" = Option<Vec<String>>, Query), ("snapshots" = Option<Vec<String>>, Query),
        ("regions" = Option<Vec<String>>, Query),
        ("minCpu" = Option<i64>, Query), ("maxCpu" = Option<i64>, Query),
        ("minMemoryGiB" = Option<i64>, Query), ("maxMemoryGiB" = Option<i64>, Query),
        ("minDiskGiB" = Option<i64>, Query), ("maxDiskGiB" = Option<i64>, Query),
        ("lastEventAfter" = Option<String>, Query), ("lastEventBefore" = Option<String>, Query),
        ("sort" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = SandboxPage), (status = 400, body = ErrorBody)))]
pub(crate) async fn page(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let list = PageSandboxes {
        filter: filter(&mut query),
        sort: query.word("sort", page_sort),
        order: query.word("order", order),
        limit: query.integer("limit"),
        page: query.integer("page"),
    };
    query.finish()?;
    let page = app.control().list_sandboxes_page(&caller, list).await?;
    let page = SandboxPage {
        items: page
            .items
            .iter()
            .map(|sandbox| present::sandbox(&app, sandbox))
            .collect(),
        total: page.total,
        page: page.page,
        total_pages: page.total_pages,
    };
    Ok(present::sandboxes_answer(era, &page))
}

/// All sandboxes at once, as full objects.
pub(super) async fn all(
    app: &App,
    caller: &Caller,
    mut query: Query,
) -> Result<Vec<api::Sandbox>, ApiError> {
    let filter = filter(&mut query);
    query.finish()?;
    let mut sandboxes = Vec::new();
    for page in 1.. {
        let list = PageSandboxes {
            filter: filter.clone(),
            limit: Some(PAGE_MAX),
            page: Some(page),
            ..PageSandboxes::default()
        };
        let found = app.control().list_sandboxes_page(caller, list).await?;
        let is_last = found.items.is_empty() || found.page >= found.total_pages;
        sandboxes.extend(found.items.iter().map(|item| present::sandbox(app, item)));
        if is_last || sandboxes.len() >= ARRAY_MAX {
            break;
        }
    }
    Ok(sandboxes)
}

/// No host here has a GPU, so a list of sandboxes with one is empty.
fn asks_for_gpu(query: &mut Query) -> bool {
    let most = query.integer("maxGpu");
    let least = query.integer("minGpu");
    least.is_some_and(|gpus| gpus > 0) || most.is_some_and(|gpus| gpus < 0)
}

fn filter(query: &mut Query) -> SandboxFilter {
    // Two names for one thing: the list by page says `regions`.
    let mut regions = query.texts("regionIds");
    regions.extend(query.texts("regions"));
    SandboxFilter {
        id_prefix: query.text("id"),
        name_prefix: query.text("name"),
        labels: query.object("labels"),
        include_errored_deleted: query.boolean("includeErroredDeleted").unwrap_or(false),
        states: query.words("states", SandboxState::parse),
        snapshots: query.texts("snapshots"),
        regions,
        classes: query.words("sandboxClasses", SandboxClass::parse),
        min_cpu: query.integer("minCpu"),
        max_cpu: query.integer("maxCpu"),
        min_memory_gib: query.integer("minMemoryGiB"),
        max_memory_gib: query.integer("maxMemoryGiB"),
        min_disk_gib: query.integer("minDiskGiB"),
        max_disk_gib: query.integer("maxDiskGiB"),
        is_public: query.boolean("isPublic"),
        is_recoverable: query.boolean("isRecoverable"),
        created_after: query.timestamp("createdAtAfter"),
        created_before: query.timestamp("createdAtBefore"),
        last_event_after: query.timestamp("lastEventAfter"),
        last_event_before: query.timestamp("lastEventBefore"),
        auto_destroy_after: query.timestamp("autoDestroyAtAfter"),
        auto_destroy_before: query.timestamp("autoDestroyAtBefore"),
    }
}

pub(super) fn order(word: &str) -> Option<SortOrder> {
    match word {
        "asc" => Some(SortOrder::Ascending),
        "desc" => Some(SortOrder::Descending),
        _ => None,
    }
}

fn cursor_sort(word: &str) -> Option<SandboxSort> {
    match word {
        "name" => Some(SandboxSort::Name),
        "cpu" => Some(SandboxSort::Cpu),
        "memoryGib" => Some(SandboxSort::MemoryGib),
        "diskGib" => Some(SandboxSort::DiskGib),
        "lastActivityAt" => Some(SandboxSort::LastActivityAt),
        "createdAt" => Some(SandboxSort::CreatedAt),
        _ => None,
    }
}

fn page_sort(word: &str) -> Option<SandboxSort> {
    match word {
        "id" => Some(SandboxSort::Id),
        "name" => Some(SandboxSort::Name),
        "state" => Some(SandboxSort::State),
        "snapshot" => Some(SandboxSort::Snapshot),
        "region" => Some(SandboxSort::Region),
        "updatedAt" => Some(SandboxSort::UpdatedAt),
        "createdAt" => Some(SandboxSort::CreatedAt),
        "lastActivityAt" => Some(SandboxSort::LastActivityAt),
        _ => None,
    }
}
