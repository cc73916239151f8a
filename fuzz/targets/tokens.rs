//! Credentials that say themselves what they are for.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| alcove_control::fuzzing::tokens(input));
