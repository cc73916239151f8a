//! Work, as runners ask for it.
//!
//! What is told here are the open orders for sandboxes of the runner that asks. One that is linked has them already and sees
//! them under way; one that is not can take them here, and tell how they ended.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::{
    Job, JobStatus, PaginatedJobs, PollJobsResponse, Sandbox, UpdateJobStatus, UpdateSandboxState,
};
use alcove_control::{JobEnd, JobStatus as Status};
use alcove_domain::runner::{JobsAsked, WorkAsked};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{BodyOf, PathOf, QueryOf};
use crate::machine::OwnRunner;
use crate::present;

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
    let asked = JobsAsked {
        page: query.integer("page"),
        limit: query.integer("limit"),
        offset: query.integer("offset"),
    };
    query.finish()?;
    let is_told = |job: &alcove_control::Job| status.is_none_or(|wanted| told(job) == wanted);
    let found = app.control().list_jobs(&runner, &asked, is_told)?;
    Ok(Json(PaginatedJobs {
        items: found.jobs.iter().map(shown).collect(),
        total: found.total,
        page: found.page,
        total_pages: found.total_pages,
    }))
}

fn told(job: &alcove_control::Job) -> JobStatus {
    match job.status {
        Status::Pending => JobStatus::Pending,
        Status::InProgress => JobStatus::InProgress,
    }
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
        status: told(job),
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
    let asked = WorkAsked {
        limit: query.integer("limit"),
        timeout: query.integer("timeout"),
    };
    query.finish()?;
    let jobs = app.control().take_jobs(&runner, &asked).await?;
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
