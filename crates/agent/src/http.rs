//! The toolbox API over HTTP: routes, and what all of them share.
//!
//! A handler reads the request, calls one function of `process`, `session`, `pty` or `file`, and writes the answer.

mod answer;
mod attached;
mod body;
mod build;
mod client;
mod error;
mod exec;
mod files;
mod git;
mod info;
mod interpreter;
mod lsp;
mod multipart;
mod params;
mod ports;
mod process;
mod pty;
mod server;
mod sessions;
mod socket;
mod stream;

pub use error::ApiError;
pub use server::serve;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::agent::Agent;

fn router(agent: Arc<Agent>) -> Router {
    let router = Router::new()
        .route("/version", get(info::version))
        .route("/user-home-dir", get(info::home_dir))
        .route("/project-dir", get(info::home_dir))
        .route("/work-dir", get(info::work_dir))
        .route("/init", post(info::init))
        .route("/env", post(info::update_env))
        .route("/system/metrics", get(info::metrics))
        .route("/process/execute", post(process::execute))
        .route("/process/code-run", post(process::code_run));
    let router = files::routes(ports::routes(router));
    let router = pty::routes(interpreter::routes(sessions::routes(router)));
    let router = attached::routes(git::routes(lsp::routes(exec::routes(router))));
    let router = if agent.is_build {
        build::routes(router)
    } else {
        router
    };
    router
        .fallback(error::unknown_route)
        // The original knows no 405.
        .method_not_allowed_fallback(error::unknown_route)
        .with_state(agent)
}
