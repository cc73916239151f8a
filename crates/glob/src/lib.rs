//! Patterns for names and for paths. The agent searches and copies by them, and `.dockerignore` is made of them.
//!
//! The grammar of a name is that of Go's `filepath.Match`, since that is what Dockerfiles are read by elsewhere.

mod name;
mod path;

pub use name::Glob;
pub use path::{PathPattern, clean};
