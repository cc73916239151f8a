//! What only steps of a build need: a command whose output is streamed, and files copied from a mounted source.
//!
//! All of it runs as root of the sandbox, and on the sandbox's own root: links that a hostile source or image has
//! lead nowhere but into the sandbox.

pub mod archive;
pub mod copy;
pub mod fetch;
pub mod source;
pub mod target;
