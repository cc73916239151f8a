//! What must be true of anything that sandboxes and servers outside say. The targets of `fuzz/` and the replay of their
//! corpora call it.

/// Reads bytes as a query of a sandbox, and as the answer of a name server.
pub fn dns(input: &[u8]) {
    super::dns::fuzzing::query(input);
    super::dns::fuzzing::answer(input);
}

/// Reads bytes as the first words of a TLS client.
pub fn hello(input: &[u8]) {
    super::gate::fuzzing::hello(input);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    fn replay(name: &str, target: fn(&[u8])) {
        let folder = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0);
    }

    #[test]
    fn the_corpus_of_dns_packets_holds() {
        replay("dns", super::dns);
    }

    #[test]
    fn the_corpus_of_hellos_holds() {
        replay("hello", super::hello);
    }
}
