//! Processes: how they are started, watched, read and ended.

pub mod capture;
pub mod charts;
pub mod code_run;
pub mod environment;
pub mod execute;
pub mod job;
pub mod reaper;
pub mod shell;
pub mod spawn;
