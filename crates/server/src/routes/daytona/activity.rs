//! What was done in a sandbox.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{SandboxActivity, SandboxActivityList};
use alcove_control::{AUDIT_PAGE_MAX, ActivityKind, ActivityQuery};
use alcove_domain::AuditRow;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};

/// Rows of a page, unless the client says otherwise.
const LIMIT: i64 = 100;

/// What was done in a sandbox and to it, in the order of time: commands and files through the API, other requests into it,
/// names that it asked for and connections that it made. By its id, this is there after the sandbox is gone, as long as the
/// audit log is kept.
#[utoipa::path(get, path = "/api/sandbox/{sandboxIdOrName}/activity", tag = "sandbox",
    operation_id = "getSandboxActivity",
    params(("sandboxIdOrName" = String, Path),
        ("kind" = Option<String>, Query, description = "`command`, `file`, `connection`, `request` or `change`"),
        ("from" = Option<String>, Query), ("to" = Option<String>, Query),
        ("limit" = Option<i64>, Query, description = "1 to 200, otherwise 100"),
        ("nextToken" = Option<String>, Query)),
    responses((status = 200, body = SandboxActivityList), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
    QueryOf(mut query): QueryOf,
) -> Result<Json<SandboxActivityList>, ApiError> {
    let limit = query.integer("limit").unwrap_or(LIMIT);
    let most = i64::try_from(AUDIT_PAGE_MAX).unwrap_or(i64::MAX);
    if !(1..=most).contains(&limit) {
        query.refuse(format!("limit must be 1 to {most}"));
    }
    let wanted = ActivityQuery {
        kind: query.word("kind", ActivityKind::parse),
        from: query.timestamp("from"),
        to: query.timestamp("to"),
        limit: limit.unsigned_abs(),
        next_token: query.text("nextToken"),
    };
    query.finish()?;
    let control = app.control();
    let list = control.sandbox_activity(&caller, &id, wanted).await?;
    Ok(Json(SandboxActivityList {
        items: list.rows.into_iter().map(shown).collect(),
        next_token: list.next_token,
    }))
}

fn shown(row: AuditRow) -> SandboxActivity {
    let kind = ActivityKind::of(&row);
    let mut entry = row.entry;
    let files = entry.metadata.remove("files").unwrap_or_default();
    let files = files.lines().map(str::to_owned).collect();
    SandboxActivity {
        id: entry.id,
        created_at: entry.at.into(),
        kind: kind.as_str().to_owned(),
        action: entry.action,
        actor_id: entry.actor_id,
        actor_email: entry.actor_email,
        status_code: entry.status,
        error_message: entry.error,
        command: entry.metadata.remove("command"),
        cwd: entry.metadata.remove("cwd"),
        files,
        details: entry.metadata,
    }
}
