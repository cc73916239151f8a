//! The few system calls that have no safe wrapper: everything `unsafe` of the agent is below this module.

#![expect(
    unsafe_code,
    reason = "vfork, limits of other processes, capabilities and settings of libgit2 have no safe wrapper"
)]

mod identity;
mod libgit2;
mod vfork;
mod wait;

pub use identity::{
    become_user, forbid_tracing, keep_descriptors_from_children, keep_memory_small,
};
pub use libgit2::{configure_libgit2, register_http_transport};
pub use vfork::{ChildPlan, SpawnFailure, SpawnStage, VforkStack, vfork_exec};
pub use wait::{
    ExitStatus, become_subreaper, close_checked, peek_exited_child, reap_child, soft_lock_limit,
    watch_descriptor, watch_readable,
};
