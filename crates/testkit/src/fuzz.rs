//! Random input for code that reads what others send.
//!
//! A target is a function from bytes. [`run`] gives it every file of its corpus, then so many mutations of those, the same
//! ones each time: a failure in one place is a failure in all. `ALCOVE_FUZZ_SECONDS` has it go on for that long with others
//! each time, and `ALCOVE_SEED` repeats such a run. Input that fails is kept in the corpus as `failure-…`, so that it is
//! tried first from then on.
//!
//! The agent's tests have this file as a module of their own: they must not build the control plane.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest input.
const MAX_BYTES: usize = 4096;

/// Bytes that parsers look for.
const TELLING: &[u8] = b"\0\x01\x02\r\n-:;=\"\\/.%[]{}*? 09\x7f\x80\xff";

/// Any number that is not 0 does.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Runs one target on the files of a folder and on `rounds` mutations of them.
pub fn run(folder: &Path, rounds: u64, check: impl Fn(&[u8])) {
    let shown = folder.display();
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut corpus: Vec<_> = files
        .map(|entry| std::fs::read(entry.expect("a file").path()).expect("it can be read"))
        .collect();
    assert!(!corpus.is_empty(), "{shown} is empty");
    corpus.sort();
    let try_one = |input: &[u8], seed: u64| {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| check(input)));
        if let Err(panic) = outcome {
            let kept = folder.join(format!("failure-{:016x}", hash(input)));
            std::fs::write(&kept, input).expect("the folder can be written");
            eprintln!("ALCOVE_SEED={seed}: kept as {}", kept.display());
            std::panic::resume_unwind(panic);
        }
    };
    for input in &corpus {
        try_one(input, 0);
    }
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let time = variable("ALCOVE_FUZZ_SECONDS").map(Duration::from_secs);
    let otherwise = match time {
        Some(_) => u64::from(std::process::id()) << 20 | 1,
        None => SEED,
    };
    let seed = variable("ALCOVE_SEED").unwrap_or(otherwise);
    let (mut random, mut round, begin) = (Random(seed), 0, Instant::now());
    while time.map_or(round < rounds, |time| begin.elapsed() < time) {
        try_one(&mutate(&corpus, &mut random), seed);
        round += 1;
    }
}

fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.one_of(corpus).clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let length = random.below((input.len() - at).min(64) + 1);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => input.insert(at, *random.one_of(TELLING)),
            2 if at < input.len() => input[at] = *random.one_of(TELLING),
            3 => drop(input.drain(at..at + length)),
            4 => {
                let piece = input[at..at + length].to_vec();
                input.splice(at..at, piece);
            }
            5 => input.truncate(at),
            _ => {
                let other = random.one_of(corpus);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(MAX_BYTES);
    input
}

/// Good enough to choose by, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % bound.max(1)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// FNV-1a: names files.
fn hash(input: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    input.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
