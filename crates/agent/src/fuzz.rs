//! Random input for code that reads what others send.
//!
//! A target is a function from bytes. [`run`] gives it every file of its corpus (`fuzz-corpus/{target}/`), then random
//! mutations of those for a bounded time. Input that panics is kept beside the corpus, so that it is tried first from
//! then on. `ALCOVE_FUZZ_SECONDS` sets the time for each target, `ALCOVE_SEED` repeats a run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic and talk"
)]

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

use alcove_agent_api::{
    MarkerWriter, PtyControl, PtyCreateRequest, PtyOffer, PtySize, STDERR_MARKER, STDOUT_MARKER,
    Stream, error_close_reason,
};

/// Enough to catch what is near the surface; a longer run is for those who change a parser.
const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// Longest input.
const MAX_BYTES: usize = 4096;

/// Bytes that parsers look for.
const TELLING: &[u8] = b"\0\x01\x02\r\n-:;=\"\\/.%[]{}*? 09\x7f\x80\xff";

/// Runs one target.
pub fn run(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz-corpus")
        .join(target);
    let mut corpus: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!corpus.is_empty(), "{target} has no corpus");
    corpus.sort();
    let try_one = |input: &[u8], seed: u64| {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| check(input)));
        if let Err(panic) = outcome {
            let kept = folder.join(format!("failure-{:016x}", hash(input)));
            std::fs::write(&kept, input).unwrap();
            eprintln!(
                "target {target}, ALCOVE_SEED={seed}: kept as {}",
                kept.display()
            );
            std::panic::resume_unwind(panic);
        }
    };
    for input in &corpus {
        try_one(input, 0);
    }
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let time = variable("ALCOVE_FUZZ_SECONDS").map_or(DEFAULT_TIME, Duration::from_secs);
    let seed = variable("ALCOVE_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    let mut random = Random(seed);
    let end = Instant::now() + time;
    while Instant::now() < end {
        for _ in 0..64 {
            let input = mutate(&corpus, &mut random);
            try_one(&input, seed);
        }
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
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
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

/// Splits as the official clients do: stream by stream, what comes before the first marker dropped.
fn as_clients_read(marked: &[u8]) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    let mut current = None;
    let mut rest = marked;
    while let Some((byte, after)) = rest.split_first() {
        if rest.starts_with(&STDOUT_MARKER) {
            (current, rest) = (Some(0), &rest[3..]);
        } else if rest.starts_with(&STDERR_MARKER) {
            (current, rest) = (Some(1), &rest[3..]);
        } else {
            if let Some(stream) = current {
                let stream: &mut Vec<u8> = &mut streams[stream];
                stream.push(*byte);
            }
            rest = after;
        }
    }
    streams
}

/// Pieces of input begin with a byte 0 (standard output) or 1 (standard error). Bytes of the payload that look like
/// parts of markers cannot come back, and are made others here.
#[test]
fn random_output_comes_back_by_stream_through_its_markers() {
    run("markers", |input| {
        let (mut writer, mut marked) = (MarkerWriter::default(), Vec::new());
        let mut wanted = [Vec::new(), Vec::new()];
        let mut stream = Stream::Stdout;
        for byte in input {
            match byte {
                0 => stream = Stream::Stdout,
                1 => stream = Stream::Stderr,
                2 => {}
                byte => {
                    writer.write(stream, &[*byte], &mut marked);
                    wanted[usize::from(stream == Stream::Stderr)].push(*byte);
                }
            }
        }
        assert_eq!(as_clients_read(&marked), wanted);
        // However odd the payload, its bytes are all there, in order.
        let (mut writer, mut marked) = (MarkerWriter::default(), Vec::new());
        writer.write(Stream::Stdout, input, &mut marked);
        let markers = marked.len() - input.len();
        assert!(
            markers.is_multiple_of(3) && (input.is_empty() || marked.starts_with(&STDOUT_MARKER))
        );
    });
}

/// Each line is tried as everything that a terminal's client or server says beside input and output.
#[test]
fn random_words_around_a_terminal_are_taken_or_refused() {
    run("terminals", |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(offer) = PtyOffer::parse(text.lines()) {
            let mut offered = text.lines().flat_map(|line| line.split(',').map(str::trim));
            let chosen = offer.chosen.as_deref();
            assert!(chosen.is_none_or(|chosen| offered.any(|protocol| protocol == chosen)));
            // Nothing is read from what is not answered.
            assert!(chosen.is_some() || offer == PtyOffer::default());
        }
        for line in text.lines() {
            if let Ok(control) = serde_json::from_str::<PtyControl>(line) {
                let again = serde_json::from_str::<PtyControl>(&control.to_json());
                assert_eq!(again.unwrap(), control);
            }
            if let Ok(request) = serde_json::from_str::<PtyCreateRequest>(line)
                && let (Some(cols), Some(rows)) = (request.cols, request.rows)
                && let Ok(size) = PtySize::new(cols, rows)
            {
                assert_eq!(
                    (u64::from(size.cols()), u64::from(size.rows())),
                    (cols, rows)
                );
            }
        }
        let reason = error_close_reason(&text);
        assert!(reason.len() <= 123, "{reason}");
        serde_json::from_str::<serde_json::Value>(&reason).unwrap();
    });
}
