//! Whole-system tests: real server, real runner, real sandboxes.
