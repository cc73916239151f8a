//! The alcove binary: serve, doctor, bench.
