//! The JSON of Vercel Sandbox, as its clients from 0.0.24 to 3.5 read and write it.
//!
//! Absent is never `null` here, but for an exit code and the end of a list; times are milliseconds.

mod command;
mod drive;
mod error;
mod file;
mod network;
mod sandbox;
mod scope;
mod snapshot;

pub use command::{FeedCommand, KillCommand, RunCommand};
pub use drive::{
    Drive, DriveAnswer, DrivePage, ForkDrive, MakeDrive, Mount, READ_ONLY, READ_WRITE,
};
pub use error::{VercelError, VercelErrorBody};
pub use file::FilePath;
pub use network::{PolicyAnswer, PolicyMode, PolicyRequest};
pub use sandbox::{
    CreateSandbox, ExtendTimeout, InteractiveAnswer, KeepLastRequest, KeepLastSnapshots,
    MakeSnapshot, NetworkTransfer, OlderAnswer, OlderPage, OlderPagination, Pagination, Route,
    Sandbox, SandboxAnswer, SandboxPage, Session, SessionAnswer, SessionPage, Source,
};
pub use scope::{
    ScopeProject, ScopeUser, ScopeUserAnswer, Team, TeamBilling, TeamMembership, TeamPage,
    TeamPagination,
};
pub use snapshot::{
    OlderSnapshotPage, Snapshot, SnapshotAnswer, SnapshotNode, SnapshotPage, SnapshotTree,
};
