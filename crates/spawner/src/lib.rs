//! The single-threaded program that makes every sandbox's first process.
