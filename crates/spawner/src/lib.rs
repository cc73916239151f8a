//! What the runner says to the spawner, and the pieces that both need.
//!
//! The program (`main.rs`) is the parent and reaper of every sandbox's first process. It is small and
//! single-threaded because a process is copied to make a new one: the copy costs 21 ms for each GiB of
//! its parent, so the server must never be that parent. It outlives the server; the sandboxes
//! outlive both.

pub mod protocol;
pub mod seqpacket;
