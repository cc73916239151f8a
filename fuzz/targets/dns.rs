//! Packets of the sandboxes and of name servers.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| alcove_runner::net::fuzzing::dns(input));
