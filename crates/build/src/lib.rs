//! What a Dockerfile means.
//!
//! Text becomes stages ([`Dockerfile::parse`]), and stages become steps with every input spelled out
//! ([`Dockerfile::plan`]). What is not supported is refused here, with its line, before anything runs. Whoever
//! carries a plan out brings the files; nothing in this crate does input or output.

mod config;
mod dockerfile;
mod evaluate;
mod ignore;
mod instruction;
mod raw;
mod refusal;
mod step;
mod words;

pub use config::{Config, Healthcheck};
pub use dockerfile::{DOCKERFILE_MAX_BYTES, Dockerfile, INSTRUCTIONS_MAX};
pub use evaluate::{PLAN_MAX_BYTES, STEPS_MAX, is_commit};
pub use ignore::Ignore;
pub use refusal::Refusal;
pub use step::{
    Action, Base, Copy, Fetch, Fetched, InlineFile, Mount, MountKind, Plan, Run, Sharing, Source,
    StagePlan, Step, StepKey,
};
pub use words::EXPANDED_MAX_BYTES;
