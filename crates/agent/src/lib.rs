//! The static program that is process 1 of every sandbox.
