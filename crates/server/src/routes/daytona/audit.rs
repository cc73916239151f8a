//! Audit logs: listed, exported, and what is in them.

use std::collections::{BTreeMap, BTreeSet};

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    AuditLog, AuditScenarios, AuditTargetScenario, CreateAuditLog, ExportedAuditLog,
    PaginatedAuditLogs,
};
use alcove_control::{AUDIT_PAGE_MAX, AuditExport, AuditList, AuditQuery, WrittenAudit};
use alcove_domain::audit::{NumberFilter, TextFilter};
use alcove_domain::{AuditFilter, AuditRow};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use crate::app::App;
use crate::audit::ACTS;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, PathOf, QueryOf};
use crate::query::Query;

/// Rows of a page, unless the client says otherwise.
const LIMIT: i64 = 100;
/// Values that one filter may name.
const VALUES_MAX: usize = 100;

/// The log of the caller's organization, newest first. Filters are written `action[eq]=create`, `statusCode[gte]=400`,
/// `createdAt[lt]=…`; a plain `action=create` means `eq`. `from` and `to` stand for `createdAt[gte]` and `createdAt[lte]`.
#[utoipa::path(get, path = "/api/audit/organizations/{organizationId}", tag = "audit",
    operation_id = "getOrganizationAuditLogs",
    params(("organizationId" = String, Path), ("page" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("from" = Option<String>, Query), ("to" = Option<String>, Query), ("nextToken" = Option<String>, Query),
        ("id" = Option<String>, Query), ("actorId" = Option<String>, Query),
        ("actorEmail" = Option<String>, Query), ("actorApiKeyPrefix" = Option<String>, Query),
        ("actorApiKeySuffix" = Option<String>, Query), ("action" = Option<String>, Query),
        ("targetType" = Option<String>, Query), ("targetId" = Option<String>, Query),
        ("statusCode" = Option<String>, Query), ("createdAt" = Option<String>, Query)),
    responses((status = 200, body = PaginatedAuditLogs), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf,
) -> Result<Json<PaginatedAuditLogs>, ApiError> {
    let (query, limit) = page_of(query)?;
    let list = app.control().list_audit(&caller, &id, query).await?;
    Ok(Json(shown_page(list, limit)))
}

/// The logs of all organizations and of the server itself, newest first, for its administrators. Takes the filters of an
/// organization's log.
#[utoipa::path(get, path = "/api/admin/audit", tag = "admin", operation_id = "adminGetAllAuditLogs",
    params(("page" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("from" = Option<String>, Query),
        ("to" = Option<String>, Query), ("nextToken" = Option<String>, Query)),
    responses((status = 200, body = PaginatedAuditLogs), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn list_all(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(query): QueryOf,
) -> Result<Json<PaginatedAuditLogs>, ApiError> {
    let (query, limit) = page_of(query)?;
    let list = app.control().list_all_audit(&caller, query).await?;
    Ok(Json(shown_page(list, limit)))
}

/// As `GET /admin/audit`.
#[utoipa::path(get, path = "/api/audit", tag = "audit", operation_id = "getAllAuditLogs",
    params(("page" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = PaginatedAuditLogs), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody)))]
pub(crate) async fn list_all_older(
    state: State<App>,
    caller: Authenticated,
    query: QueryOf,
) -> Result<Json<PaginatedAuditLogs>, ApiError> {
    list_all(state, caller, query).await
}

/// Writes a row by hand, as an administrator of the server, whose id it has in `metadata.writtenBy`.
#[utoipa::path(post, path = "/api/audit", tag = "audit", operation_id = "createAuditLog",
    request_body = CreateAuditLog,
    responses((status = 201, body = AuditLog), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, description = "No such organization", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    BodyOf(body): BodyOf<CreateAuditLog>,
) -> Result<(StatusCode, Json<AuditLog>), ApiError> {
    let written = WrittenAudit {
        actor_id: body.actor_id,
        actor_email: body.actor_email,
        organization: body.organization_id,
        action: body.action,
        target_type: body.target_type,
        target_id: body.target_id,
    };
    let row = app.control().write_audit(&caller, written).await?;
    Ok((StatusCode::CREATED, Json(shown(row))))
}

/// What this server writes down: the actions, by the kind of thing that they are about.
#[utoipa::path(get, path = "/api/audit/scenarios", tag = "audit", operation_id = "getAuditScenarios",
    security(()), responses((status = 200, body = AuditScenarios)))]
pub(crate) async fn scenarios() -> Json<AuditScenarios> {
    let mut targets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for act in ACTS {
        targets.entry(act.target).or_default().insert(act.action);
    }
    let targets = targets
        .into_iter()
        .map(|(target, actions)| AuditTargetScenario {
            target_type: target.to_owned(),
            actions: actions.into_iter().map(str::to_owned).collect(),
        });
    Json(AuditScenarios {
        targets: targets.collect(),
    })
}

/// The whole log of the caller's organization, the oldest first: a row of JSON a line, with its place in the chain. Takes the
/// filters of the list.
#[utoipa::path(get, path = "/api/audit/organizations/{organizationId}/export", tag = "audit",
    operation_id = "exportOrganizationAuditLogs", params(("organizationId" = String, Path),
        ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = ExportedAuditLog, content_type = "application/x-ndjson"),
        (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn export(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let filter = filter_of(&mut query);
    query.finish()?;
    let export = app.control().export_audit(&caller, &id, filter).await?;
    lines(export).await
}

/// The same of all logs, for administrators of the server.
#[utoipa::path(get, path = "/api/admin/audit/export", tag = "admin", operation_id = "adminExportAuditLogs",
    params(("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = ExportedAuditLog, content_type = "application/x-ndjson"),
        (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn export_all(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let filter = filter_of(&mut query);
    query.finish()?;
    let export = app.control().export_all_audit(&caller, filter).await?;
    lines(export).await
}

/// The first rows are read before the answer begins, so that what is wrong then is told by its status. Later, the stream
/// breaks off.
async fn lines(mut export: AuditExport) -> Result<Response, ApiError> {
    let first = export.next().await?;
    let rest = stream::try_unfold((export, Some(first)), async |(mut export, ready)| {
        let rows = match ready {
            Some(rows) => rows,
            None => export.next().await?,
        };
        if rows.is_empty() {
            return Ok::<_, alcove_control::Error>(None);
        }
        let mut text = Vec::new();
        for row in rows {
            if serde_json::to_writer(&mut text, &exported(row)).is_ok() {
                text.push(b'\n');
            }
        }
        Ok(Some((Bytes::from(text), (export, None))))
    });
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(CONTENT_TYPE, kind)], Body::from_stream(rest)).into_response())
}

fn page_of(mut query: Query) -> Result<(AuditQuery, u64), ApiError> {
    let page = query.integer("page").unwrap_or(1);
    let limit = query.integer("limit").unwrap_or(LIMIT);
    let most = i64::try_from(AUDIT_PAGE_MAX).unwrap_or(i64::MAX);
    if page < 1 {
        query.refuse("page must be 1 or more");
    }
    if !(1..=most).contains(&limit) {
        query.refuse(format!("limit must be 1 to {most}"));
    }
    let next_token = query.text("nextToken");
    let filter = filter_of(&mut query);
    query.finish()?;
    let limit = limit.unsigned_abs();
    let query = AuditQuery {
        filter,
        page: page.unsigned_abs(),
        limit,
        next_token,
    };
    Ok((query, limit))
}

fn filter_of(query: &mut Query) -> AuditFilter {
    let mut at = NumberFilter::default();
    for (name, bound) in [
        ("createdAt[gte]", &mut at.from),
        ("createdAt[lte]", &mut at.to),
        ("createdAt[gt]", &mut at.above),
        ("createdAt[lt]", &mut at.below),
    ] {
        *bound = query.timestamp(name).map(jiff::Timestamp::as_millisecond);
    }
    // Both are kept where both are told.
    if let Some(from) = query.timestamp("from") {
        at.from = Some(
            at.from
                .map_or(from.as_millisecond(), |it| it.max(from.as_millisecond())),
        );
    }
    if let Some(to) = query.timestamp("to") {
        at.to = Some(
            at.to
                .map_or(to.as_millisecond(), |it| it.min(to.as_millisecond())),
        );
    }
    let filter = AuditFilter {
        id: texts(query, "id"),
        actor_id: texts(query, "actorId"),
        actor_email: texts(query, "actorEmail"),
        key_prefix: texts(query, "actorApiKeyPrefix"),
        key_suffix: texts(query, "actorApiKeySuffix"),
        action: texts(query, "action"),
        target_type: texts(query, "targetType"),
        target_id: texts(query, "targetId"),
        status: numbers(query, "statusCode"),
        at,
    };
    for name in [
        "id",
        "actorId",
        "actorEmail",
        "actorApiKeyPrefix",
        "actorApiKeySuffix",
        "action",
        "targetType",
        "targetId",
        "statusCode",
        "createdAt",
    ] {
        query.refuse_operators(name);
    }
    filter
}

/// All values of `name[in]`, repeated or with commas.
fn values(query: &mut Query, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for text in query.texts(name) {
        values.extend(text.split(',').map(|value| value.trim().to_owned()));
    }
    if values.len() > VALUES_MAX {
        query.refuse(format!(
            "{name} must not have more than {VALUES_MAX} values"
        ));
        values.clear();
    }
    values
}

fn texts(query: &mut Query, name: &str) -> TextFilter {
    let plain = query.text(name);
    TextFilter {
        equals: query.text(&format!("{name}[eq]")).or(plain),
        not: query.text(&format!("{name}[not]")),
        among: values(query, &format!("{name}[in]")),
        not_among: values(query, &format!("{name}[notIn]")),
    }
}

fn numbers(query: &mut Query, name: &str) -> NumberFilter {
    let plain = query.integer(name);
    let mut all = |operator: &str| {
        let name = format!("{name}[{operator}]");
        let mut numbers = Vec::new();
        for text in values(query, &name) {
            match text.parse() {
                Ok(number) => numbers.push(number),
                Err(_) => query.refuse(format!("{name} must be integer numbers")),
            }
        }
        numbers
    };
    let (among, not_among) = (all("in"), all("notIn"));
    let mut one = |operator: &str| query.integer(&format!("{name}[{operator}]"));
    NumberFilter {
        equals: one("eq").or(plain),
        not: one("not"),
        among,
        not_among,
        from: one("gte"),
        to: one("lte"),
        above: one("gt"),
        below: one("lt"),
    }
}

fn shown_page(list: AuditList, limit: u64) -> PaginatedAuditLogs {
    PaginatedAuditLogs {
        total: list.total,
        page: list.page,
        total_pages: list.total.div_ceil(limit.max(1)),
        next_token: list.next_token,
        items: list.rows.into_iter().map(shown).collect(),
    }
}

/// A row as an export has it.
pub fn exported(row: AuditRow) -> ExportedAuditLog {
    ExportedAuditLog {
        number: row.number,
        previous_hash: row.previous_hash.clone(),
        hash: row.hash.clone(),
        row: shown(row),
    }
}

fn shown(row: AuditRow) -> AuditLog {
    let entry = row.entry;
    let (name, prefix, suffix) = match entry.actor_key {
        Some(key) => (Some(key.name), Some(key.prefix), Some(key.suffix)),
        None => (None, None, None),
    };
    AuditLog {
        id: entry.id,
        actor_id: entry.actor_id,
        actor_email: entry.actor_email,
        actor_api_key_prefix: prefix,
        actor_api_key_suffix: suffix,
        actor_api_key_name: name,
        organization_id: entry.organization.map(|id| id.to_string()),
        action: entry.action,
        target_type: entry.target_type,
        target_id: entry.target_id,
        status_code: entry.status,
        error_message: entry.error,
        ip_address: entry.address,
        user_agent: entry.user_agent,
        source: entry.source,
        metadata: Some(entry.metadata).filter(|metadata| !metadata.is_empty()),
        created_at: entry.at.into(),
    }
}
