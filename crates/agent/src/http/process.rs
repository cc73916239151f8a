//! One-off commands and runs of source text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alcove_agent_api::{Chart, CodeRunArtifacts, CodeRunRequest, ErrorCode, ExecuteRequest};
use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{Method, StatusCode};
use serde::Serialize;

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::answer::with_result;
use crate::http::body::read_json;
use crate::process::capture::{Capture, CaptureLimits, Captured};
use crate::process::code_run::{self, Language};
use crate::process::environment::is_variable_name;
use crate::process::execute::{self, Invocation, Outcome, Terms};
use crate::process::spawn::EnvBlock;

pub async fn execute(
    State(agent): State<Arc<Agent>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    body: Body,
) -> Result<Response, ApiError> {
    let request: ExecuteRequest = read_json(body, ErrorCode::BadRequest).await?;
    if request.command.trim().is_empty() {
        return Err(ApiError::bad_request("command must not be empty"));
    }
    let mut terms = terms(request.cwd, request.envs, request.timeout)?;
    if let Ok(terms) = &mut terms
        && request.timeout.is_none()
    {
        terms.time_limit = agent.execute_limit;
    }
    let run = tokio::spawn(async move {
        let Terms {
            mut env,
            cwd,
            time_limit,
        } = match terms {
            Ok(terms) => terms,
            Err(reason) => return Outcome::NotStarted(reason),
        };
        let shell = agent.home.shells.choose();
        match Invocation::of_script(&shell, &request.command, &mut env) {
            Ok(invocation) => {
                execute::run(
                    &agent,
                    invocation,
                    Terms {
                        cwd,
                        env,
                        time_limit,
                    },
                )
                .await
            }
            Err(error) => Outcome::NotStarted(error.to_string()),
        }
    });
    let outcome = run.await.map_err(|_| super::error::panicked())?;
    Ok(answer(outcome, Vec::new(), &method, uri.path()))
}

pub async fn code_run(
    State(agent): State<Arc<Agent>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    body: Body,
) -> Result<Response, ApiError> {
    let request: CodeRunRequest = read_json(body, ErrorCode::InvalidRequestBody).await?;
    if request.code.is_empty() || request.language.is_empty() {
        let message = "code and language are required";
        return Err(ApiError::new(ErrorCode::InvalidRequestBody, message));
    }
    let language = Language::parse(&request.language).ok_or_else(|| {
        ApiError::bad_request(format_args!("unsupported language: {}", request.language))
    })?;
    let terms = terms(None, request.envs, request.timeout)?;
    let run = tokio::spawn(async move {
        match terms {
            Ok(terms) => {
                let argv = request.argv.unwrap_or_default();
                code_run::run(&agent, language, &request.code, argv, terms).await
            }
            Err(reason) => (Outcome::NotStarted(reason), Vec::new()),
        }
    });
    let (outcome, charts) = run.await.map_err(|_| super::error::panicked())?;
    Ok(answer(outcome, charts, &method, uri.path()))
}

/// The outer error is the client's, the inner one is reported as a command that did not start.
fn terms(
    cwd: Option<String>,
    envs: Option<BTreeMap<String, String>>,
    timeout: Option<u64>,
) -> Result<Result<Terms, String>, ApiError> {
    let mut env = EnvBlock::default();
    let envs = envs.unwrap_or_default();
    check_variable_names(envs.keys())?;
    for (name, value) in envs {
        if let Err(error) = env.set(&name, &value) {
            return Ok(Err(error.to_string()));
        }
    }
    let time_limit = timeout
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs);
    Ok(Ok(Terms {
        cwd,
        env,
        time_limit,
    }))
}

/// Refuses names that a shell does not take for those of variables.
pub fn check_variable_names<'a>(
    mut names: impl Iterator<Item = &'a String>,
) -> Result<(), ApiError> {
    match names.find(|name| !is_variable_name(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format_args!("invalid environment variable name: {name:?}");
            Err(ApiError::bad_request(message))
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exit {
    exit_code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<CodeRunArtifacts>,
}

fn answer(outcome: Outcome, charts: Vec<Chart>, method: &Method, path: &str) -> Response {
    let artifacts = (!charts.is_empty()).then_some(CodeRunArtifacts { charts });
    let exit = |exit_code| Exit {
        exit_code,
        artifacts,
    };
    match outcome {
        Outcome::Exited(status, output) => {
            with_result(StatusCode::OK, &exit(status.execute_code()), output)
        }
        Outcome::NotStarted(reason) => with_result(StatusCode::OK, &exit(-1), text(&reason)),
        Outcome::TimedOut(output) => {
            let code = ErrorCode::ProcessExecutionTimeout;
            let error = ApiError::new(code, "command execution timeout");
            with_result(error.status(), &error.body(method, path), output)
        }
    }
}

fn text(text: &str) -> Captured {
    let mut capture = Capture::new(CaptureLimits::default());
    capture.push(text.as_bytes());
    capture.finish()
}
