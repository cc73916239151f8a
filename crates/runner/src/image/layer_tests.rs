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
    let outcome = unpack(blob, diff_id, folder.path(), limits, &|| Ok(()));
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

#[test]
fn what_is_unpacked_is_asked_about_by_what_comes_out() {
    const MIB: usize = 1 << 20;
    // Some kilobytes that become many megabytes.
    let plain = TarBytes::default().file("a", &vec![0; 20 * MIB]).finish();
    let blob = zstd::encode_all(&plain[..], 1).unwrap();
    assert!(blob.len() < MIB / 10);
    let asked = std::cell::Cell::new(0);
    let unpacked = |stops_after: u32| {
        asked.set(0);
        let folder = tempfile::tempdir().unwrap();
        let go_on = || {
            asked.set(asked.get() + 1);
            if asked.get() > stops_after {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        };
        unpack_any(&blob[..], folder.path(), &Limits::default(), &go_on)
    };
    assert!(unpacked(u32::MAX).is_ok());
    assert!((20..=25).contains(&asked.get()), "{}", asked.get());
    let stopped = crate::image::ImageError::Context(unpacked(5).unwrap_err());
    assert!(stopped.is_disk_full(), "{stopped}");
    assert_eq!(asked.get(), 6);
}
