//! Builds with real sandboxes, judged by buildah where it knows the instruction.

mod bases;
mod caches;
mod cases;
mod contexts;
mod fetch;
mod judge;
mod more;
mod support;
mod tree;
