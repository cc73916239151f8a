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
    use std::path::Path;

    use alcove_testkit::fuzz;

    const ROUNDS: u64 = 20_000;

    fn run(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        fuzz::run(&corpus.join(name), ROUNDS, target);
    }

    #[test]
    fn packets_of_dns_hold_for_the_corpus_and_what_is_near_it() {
        run("dns", super::dns);
    }

    #[test]
    fn hellos_hold_for_the_corpus_and_what_is_near_it() {
        run("hello", super::hello);
    }
}
