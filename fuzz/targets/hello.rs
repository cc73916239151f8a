//! The first words of TLS clients, at the gate.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| alcove_runner::net::fuzzing::hello(input));
