//! Hosts and paths that the proxy reads before it knows who asks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| alcove_edge::fuzzing::addresses(input));
