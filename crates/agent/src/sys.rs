//! The few system calls that have no safe wrapper: everything `unsafe` of the agent is below this module.

#![expect(
    unsafe_code,
    reason = "vfork, limits of other processes and capabilities have no safe wrapper"
)]

mod identity;
mod pages;
mod vfork;
mod wait;

pub use identity::{
    become_user, forbid_tracing, give_memory_back, keep_descriptors_from_children,
    keep_memory_small,
};
pub use pages::fault_in_own_program;
pub use vfork::{
    ChildPlan, SpawnFailure, SpawnStage, VforkStack, signals_with_an_action, vfork_exec,
};
pub use wait::{
    ExitStatus, become_subreaper, close_checked, peek_exited_child, reap_child, soft_lock_limit,
    watch_descriptor, watch_readable,
};
