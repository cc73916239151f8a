//! Work, as runners ask for it.
//!
//! What is told here are the open orders for sandboxes of the runner that asks. One that is linked has them already and sees
//! them under way; one that is not can take them here, and tell how they ended.

use std::time::Duration;

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    Job, JobStatus, PaginatedJobs, PollJobsResponse, Sandbox, UpdateJobStatus, UpdateSandboxState,
};
use alcove_control::{JobEnd, JobStatus as Status};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{BodyOf, PathOf, QueryOf};
use crate::machine::OwnRunner;
use crate::present;

const LIMIT_MAX: i64 = 500;
const LIMIT_DEFAULT: i64 = 100;
const POLL_LIMIT_MAX: i64 = 100;
const POLL_LIMIT_DEFAULT: i64 = 10;
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
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    QueryOf(mut query): QueryOf,
) -> Result<Json<PaginatedJobs>, ApiError> {
    let status = query.word("status", JobStatus::from_word);
    let page = query.integer("page").unwrap_or(1);
    if page < 1 {
        query.refuse("page must be 1 or more");
    }
    let limit = query.integer("limit").unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        query.refuse(format!("limit must be 1 to {LIMIT_MAX}"));
    }
    let offset = query.integer("offset");
    if offset.unwrap_or(0) < 0 {
        query.refuse("offset must be 0 or more");
    }
    query.finish()?;
    let (page, limit) = (page.unsigned_abs(), limit.unsigned_abs());
    let mut jobs: Vec<Job> = app.control().list_jobs(&runner).iter().map(shown).collect();
    jobs.retain(|job| status.is_none_or(|status| job.status == status));
    let total = jobs.len() as u64;
    let skipped = offset.map_or((page - 1).saturating_mul(limit), i64::unsigned_abs);
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let limited = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Json(PaginatedJobs {
        items: jobs.into_iter().skip(skipped).take(limited).collect(),
        total,
        page,
        total_pages: total.div_ceil(limit),
    }))
}

fn shown(job: &alcove_control::Job) -> Job {
    let at = job.sandbox.lifecycle.state_changed_at;
    let payload = serde_json::json!({
        "sandboxId": job.sandbox.id.as_str(),
        "generation": job.sandbox.lifecycle.generation,
    });
    Job {
        id: job.id.to_string(),
        kind: job.kind.as_str().to_owned(),
        status: match job.status {
            Status::Pending => JobStatus::Pending,
            Status::InProgress => JobStatus::InProgress,
        },
        resource_type: "SANDBOX".to_owned(),
        resource_id: job.sandbox.id.to_string(),
        payload: Some(payload.to_string()),
        error_message: None,
        created_at: at.into(),
        updated_at: Some(at.into()),
    }
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
    let limit = query.integer("limit").unwrap_or(POLL_LIMIT_DEFAULT);
    if !(1..=POLL_LIMIT_MAX).contains(&limit) {
        query.refuse(format!("limit must be 1 to {POLL_LIMIT_MAX}"));
    }
    query.finish()?;
    let timeout = Duration::from_secs(seconds.unwrap_or(POLL_DEFAULT));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let jobs = app.control().take_jobs(&runner, limit, timeout).await;
    Ok(Json(PollJobsResponse {
        jobs: jobs.iter().map(shown).collect(),
    }))
}

/// A job of the runner that asks.
#[utoipa::path(get, path = "/api/jobs/{jobId}", tag = "jobs", operation_id = "getJob",
    params(("jobId" = String, Path)),
    responses((status = 200, body = Job), (status = 403, description = "Not a runner", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    PathOf(id): PathOf<String>,
) -> Result<Json<Job>, ApiError> {
    Ok(Json(shown(&app.control().get_job(&runner, &id)?)))
}

/// Tells how far a job of the runner that asks is. One that a linked runner has is answered over the link only.
#[utoipa::path(post, path = "/api/jobs/{jobId}/status", tag = "jobs", operation_id = "updateJobStatus",
    params(("jobId" = String, Path)), request_body = UpdateJobStatus,
    responses((status = 200, body = Job), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "Not a change that the job can take from here", body = ErrorBody)))]
pub(crate) async fn update(
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateJobStatus>,
) -> Result<Json<Job>, ApiError> {
    let end = match body.status {
        JobStatus::Pending => {
            return Err(ApiError::invalid(&[
                "a job does not become PENDING again".to_owned()
            ]));
        }
        JobStatus::InProgress => None,
        JobStatus::Completed => Some(JobEnd::Completed {
            agent_version: agent_version(body.result_metadata.as_deref())?,
        }),
        JobStatus::Failed => Some(JobEnd::Failed(
            body.error_message
                .clone()
                .unwrap_or_else(|| "the runner does not say why".to_owned()),
        )),
    };
    let job = app.control().tell_job(&runner, &id, end).await?;
    Ok(Json(Job {
        status: body.status,
        error_message: body.error_message,
        ..shown(&job)
    }))
}

/// What a runner says beside that it is done: JSON, of which the version of the agent is kept.
fn agent_version(metadata: Option<&str>) -> Result<Option<String>, ApiError> {
    const MAX_BYTES: usize = 100;
    let Some(metadata) = metadata else {
        return Ok(None);
    };
    let refused = |why: &str| ApiError::invalid(&[format!("resultMetadata {why}")]);
    let read: serde_json::Value =
        serde_json::from_str(metadata).map_err(|_| refused("must be JSON"))?;
    match read.get("daemonVersion") {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(version)) if version.len() <= MAX_BYTES => {
            Ok(Some(version.clone()))
        }
        Some(_) => Err(refused("must have a short text as its daemonVersion")),
    }
}

/// Sandboxes that are on the runner that asks.
#[utoipa::path(get, path = "/api/sandbox/for-runner", tag = "sandbox", operation_id = "getSandboxesForRunner",
    params(("states" = Option<String>, Query, description = "With commas between them"),
        ("skipReconcilingSandboxes" = Option<bool>, Query)),
    responses((status = 200, body = Vec<Sandbox>), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody)))]
pub(crate) async fn sandboxes(
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    QueryOf(mut query): QueryOf,
) -> Result<Json<Vec<Sandbox>>, ApiError> {
    let mut states = Vec::new();
    for word in query.text("states").iter().flat_map(|all| all.split(',')) {
        match alcove_domain::SandboxState::parse(word.trim()) {
            Some(state) => states.push(state),
            None => query.refuse(format!("states does not take {word:?}")),
        }
    }
    let skips_changing = query.boolean("skipReconcilingSandboxes").unwrap_or(false);
    query.finish()?;
    let found = app
        .control()
        .sandboxes_of_runner(&runner, &states, skips_changing);
    Ok(Json(
        found
            .iter()
            .map(|sandbox| present::sandbox(&app, sandbox))
            .collect(),
    ))
}

/// Tells what became of a sandbox that is on the runner that asks.
#[utoipa::path(put, path = "/api/sandbox/{sandboxIdOrName}/state", tag = "sandbox",
    operation_id = "updateSandboxState", params(("sandboxIdOrName" = String, Path)),
    request_body = UpdateSandboxState,
    responses((status = 200), (status = 400, body = ErrorBody),
        (status = 403, description = "Not a runner", body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn sandbox_state(
    State(app): State<App>,
    OwnRunner(runner): OwnRunner,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<UpdateSandboxState>,
) -> Result<(), ApiError> {
    let state = body
        .state
        .and_then(|state| alcove_domain::SandboxState::parse(state.as_str()))
        .ok_or_else(|| ApiError::invalid(&["state must be a state of sandboxes".to_owned()]))?;
    let has_disk = body.recoverable.unwrap_or(false);
    let told = app
        .control()
        .note_sandbox_state(&runner, &id, state, body.error_reason, has_disk);
    Ok(told.await?)
}
