//! Interpreter contexts: code runs in one process after the other and finds what earlier runs left.
//!
//! ```text
//!   execute ──> queue of the context ──> driver ──orders──> worker (a script of ours in python3 or node)
//!      ^                                   │ ^                │        │
//!      │        messages, as they come     │ └─────events─────┘        │ the code's own output,
//!      └───────────────────────────────────┘ <─────────────────────────┘ and that of what it starts
//! ```
//!
//! A context is its queue and its driver; the process behind it may die and be started anew. Orders and events have
//! descriptors of their own, so that nothing the code prints can be taken for them.

mod driver;
mod execution;
mod frame;
mod language;
mod output;
pub mod registry;
pub mod worker;

pub use execution::{End, Execution, ExecutionTerms, deleted_message};
pub use language::Language;
