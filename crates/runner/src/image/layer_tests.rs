//! These need root: unpacking changes owners.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Write;

use super::super::testing::TarBytes;
use super::*;

fn sample() -> Vec<u8> {
    TarBytes::default()
        .folder("a")
        .file("a/text", &b"hello ".repeat(500))
        .finish()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpack_into(
    blob: &[u8],
    diff_id: Sha256Digest,
    limits: &Limits,
) -> (tempfile::TempDir, Result<Unpacked, LayerError>) {
    let folder = tempfile::tempdir().unwrap();
    let outcome = unpack(blob, diff_id, folder.path(), limits);
    (folder, outcome)
}

#[test]
fn each_compression_gives_the_same_files() {
    let plain = sample();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    // Both formats may come in several parts.
    let (front, back) = plain.split_at(700);
    let parts = [gzip(front), gzip(back)].concat();
    for blob in [&plain, &gzip(&plain), &zstd, &parts] {
        let (folder, outcome) = unpack_into(blob, Sha256Digest::of(&plain), &Limits::default());
        assert_eq!(outcome.unwrap().size_bytes, 3000);
        assert_eq!(fs::read(folder.path().join("a/text")).unwrap().len(), 3000);
    }
}

#[test]
fn another_content_than_named_is_refused() {
    let plain = sample();
    let (_folder, outcome) = unpack_into(&plain, Sha256Digest::of(b"other"), &Limits::default());
    assert!(matches!(outcome, Err(LayerError::WrongContent { .. })));
    // What comes after the end of the archive belongs to the content.
    let longer = [plain.clone(), vec![0; 512]].concat();
    let (_folder, outcome) = unpack_into(&longer, Sha256Digest::of(&plain), &Limits::default());
    assert!(matches!(outcome, Err(LayerError::WrongContent { .. })));
}

#[test]
fn a_damaged_stream_is_refused_wherever_it_breaks() {
    let plain = sample();
    let diff_id = Sha256Digest::of(&plain);
    for whole in [
        plain.clone(),
        gzip(&plain),
        zstd::encode_all(&plain[..], 1).unwrap(),
    ] {
        let last = whole.len() - 1;
        for length in (0..last).step_by(61).chain([last]) {
            let (_folder, outcome) = unpack_into(&whole[..length], diff_id, &Limits::default());
            assert!(outcome.is_err(), "{length} of {}", whole.len());
        }
    }
}

#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let limits = Limits {
        layer_bytes: 1 << 20,
        ..Limits::default()
    };
    // Zeroes after the end of the archive: no entry speaks of them.
    let plain = [sample(), vec![0; 8 << 20]].concat();
    let blob = zstd::encode_all(&plain[..], 1).unwrap();
    assert!(blob.len() < 1 << 16);
    let (_folder, outcome) = unpack_into(&blob, Sha256Digest::of(&plain), &limits);
    assert!(
        matches!(outcome, Err(LayerError::Read(error)) if error.kind() == io::ErrorKind::FileTooLarge)
    );
}

#[test]
fn an_entry_that_promises_more_than_the_limit_is_refused_at_once() {
    let limits = Limits {
        layer_bytes: 4096,
        ..Limits::default()
    };
    let plain = TarBytes::default().file("big", &[1; 5000]).finish();
    let (folder, outcome) = unpack_into(&plain, Sha256Digest::of(&plain), &limits);
    assert!(matches!(
        outcome,
        Err(LayerError::TooLarge {
            what: "bytes",
            limit: 4096
        })
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
