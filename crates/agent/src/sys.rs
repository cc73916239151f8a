//! The few system calls that have no safe wrapper: everything `unsafe` of the agent is below this module.

#![expect(
    unsafe_code,
    reason = "vfork, limits of other processes and capabilities have no safe wrapper in std or rustix"
)]

mod identity;
mod vfork;
mod wait;

pub use identity::{
    become_user, forbid_tracing, keep_descriptors_from_children, keep_memory_small,
};
pub use vfork::{ChildPlan, SpawnFailure, SpawnStage, VforkStack, vfork_exec};
pub use wait::{
    ExitStatus, become_subreaper, close_checked, peek_exited_child, reap_child, soft_lock_limit,
    watch_readable,
};
