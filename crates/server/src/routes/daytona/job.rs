//! Work, as runners ask for it.
//!
//! Orders go to the runner that is part of the server, inside. A registered runner cannot be given any yet, so what is
//! told here is the truth about it: it has no jobs, and no sandboxes.

use std::time::Duration;

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    Job, JobStatus, PaginatedJobs, PollJobsResponse, Sandbox, SandboxState, UpdateJobStatus,
    UpdateSandboxState,
};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{BodyOf, PathOf, QueryOf};
use crate::machine::OwnRunner;

const LIMIT_MAX: i64 = 500;
const POLL_LIMIT_MAX: i64 = 100;
/// Seconds that a question for work is held.
const POLL_DEFAULT: u64 = 30;
const POLL_MAX: u64 = 60;

/// Jobs of the runner that asks.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", operation_id = "listJobs",
    params(("status" = Option<JobStatus>, Query), ("page" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("offset" = Option<i64>, Query)),
    responses((status = 200, body = PaginatedJobs), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn list(
    OwnRunner(_): OwnRunner,
    QueryOf(mut query): QueryOf,
) -> Result<Json<PaginatedJobs>, ApiError> {
    query.word("status", JobStatus::from_word);
    let page = query.integer("page").unwrap_or(1);
    if page < 1 {
        query.refuse("page must be 1 or more");
    }
    if !(1..=LIMIT_MAX).contains(&query.integer("limit").unwrap_or(1)) {
        query.refuse(format!("limit must be 1 to {LIMIT_MAX}"));
    }
    if query.integer("offset").unwrap_or(0) < 0 {
        query.refuse("offset must be 0 or more");
    }
    query.finish()?;
    Ok(Json(PaginatedJobs {
        items: Vec::new(),
        total: 0,
        page: page.unsigned_abs(),
        total_pages: 0,
    }))
}

/// Asks for work, and is held until there is some or `timeout` is over: 0 to 60 seconds, 30 where none are given.
#[utoipa::path(get, path = "/api/jobs/poll", tag = "jobs", operation_id = "pollJobs",
    params(("timeout" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = PollJobsResponse), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn poll(
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    QueryOf(mut query): QueryOf,
) -> Result<Json<PollJobsResponse>, ApiError> {
    let timeout = query.integer("timeout");
    let seconds = timeout.map_or(Some(POLL_DEFAULT), |given| u64::try_from(given).ok());
    let seconds = seconds.filter(|seconds| *seconds <= POLL_MAX);
    if seconds.is_none() {
        query.refuse(format!("timeout must be 0 to {POLL_MAX}"));
    }
    if !(1..=POLL_LIMIT_MAX).contains(&query.integer("limit").unwrap_or(1)) {
        query.refuse(format!("limit must be 1 to {POLL_LIMIT_MAX}"));
    }
    query.finish()?;
    let timeout = Duration::from_secs(seconds.unwrap_or(POLL_DEFAULT));
    app.control().wait_for_jobs(&runner, timeout).await;
    Ok(Json(PollJobsResponse { jobs: Vec::new() }))
}

/// A job of the runner that asks.
#[utoipa::path(get, path = "/api/jobs/{jobId}", tag = "jobs", operation_id = "getJob",
    params(("jobId" = String, Path)),
    responses((status = 200, body = Job), (status = 403, description = "Not a runner", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    OwnRunner(_): OwnRunner,
    PathOf(id): PathOf<String>,
) -> Result<Json<Job>, ApiError> {
    Err(not_found(&id))
}

/// Tells how far a job of the runner that asks is.
#[utoipa::path(post, path = "/api/jobs/{jobId}/status", tag = "jobs", operation_id = "updateJobStatus",
    params(("jobId" = String, Path)), request_body = UpdateJobStatus,
    responses((status = 200, body = Job), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn update(
    OwnRunner(_): OwnRunner,
    PathOf(id): PathOf<String>,
    BodyOf(_): BodyOf<UpdateJobStatus>,
) -> Result<Json<Job>, ApiError> {
    Err(not_found(&id))
}

fn not_found(id: &str) -> ApiError {
    ApiError::not_found(&format!("Job with ID {id} not found"))
}

/// Sandboxes that are on the runner that asks.
#[utoipa::path(get, path = "/api/sandbox/for-runner", tag = "sandbox", operation_id = "getSandboxesForRunner",
    params(("states" = Option<String>, Query, description = "With commas between them"),
        ("skipReconcilingSandboxes" = Option<bool>, Query)),
    responses((status = 200, body = Vec<Sandbox>), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn sandboxes(
    OwnRunner(_): OwnRunner,
    QueryOf(mut query): QueryOf,
) -> Result<Json<Vec<Sandbox>>, ApiError> {
    for word in query.text("states").iter().flat_map(|all| all.split(',')) {
        if SandboxState::from_word(word.trim()).is_none() {
            query.refuse(format!("states does not take {word:?}"));
        }
    }
    query.boolean("skipReconcilingSandboxes");
    query.finish()?;
    Ok(Json(Vec::new()))
}

/// Tells what became of a sandbox that is on the runner that asks.
#[utoipa::path(put, path = "/api/sandbox/{sandboxIdOrName}/state", tag = "sandbox",
    operation_id = "updateSandboxState", params(("sandboxIdOrName" = String, Path)),
    request_body = UpdateSandboxState,
    responses((status = 200), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn sandbox_state(
    OwnRunner(_): OwnRunner,
    PathOf(id): PathOf<String>,
    BodyOf(_): BodyOf<UpdateSandboxState>,
) -> Result<(), ApiError> {
    Err(ApiError::not_found(&format!(
        "Sandbox with ID {id} not found"
    )))
}
