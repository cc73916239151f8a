//! Random input for code that reads what others send; each target has a corpus in `fuzz-corpus/{target}/`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use alcove_agent_api::{
    MarkerWriter, PtyControl, PtyCreateRequest, PtyOffer, PtySize, STDERR_MARKER, STDOUT_MARKER,
    Stream, error_close_reason,
};

#[path = "../../testkit/src/fuzz.rs"]
mod engine;

/// Enough to catch what is near the surface; a longer run is for those who change a parser.
const ROUNDS: u64 = 20_000;

/// Runs one target.
pub fn run(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-corpus");
    engine::run(&corpus.join(target), ROUNDS, check);
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
