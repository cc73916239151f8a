#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::point::Traffic;

const DAY_MS: i64 = 86_400_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

fn sample(ms: i64, cpu: Option<f64>, memory: u64) -> Point {
    let traffic = Traffic {
        received_bytes: memory,
        sent_bytes: 1,
    };
    Point::new(
        at(ms),
        cpu,
        1000,
        memory,
        0,
        1 << 30,
        Some((memory, 1 << 40)),
        Some(traffic),
    )
}

fn series() -> (tempfile::TempDir, Series) {
    let folder = tempfile::tempdir().unwrap();
    let series = Series::create(&folder.path().join("series")).unwrap();
    (folder, series)
}

#[test]
fn a_point_is_read_as_it_was_written_and_half_of_one_is_none() {
    for point in [sample(0, Some(12.5), 77), sample(5, None, 0)] {
        let bytes = point.encode();
        assert_eq!(Point::decode(&bytes), Some(point));
        let mut torn = bytes;
        torn[40..].fill(0);
        assert_eq!(Point::decode(&torn), None);
    }
    assert_eq!(Point::decode(&[0; BYTES]), None, "nothing was written");
}

#[test]
fn samples_of_one_step_are_their_average_and_counters_the_last() {
    let (_folder, series) = series();
    // The time that the others are counted from begins a step.
    let begin = 10_000;
    for (ms, cpu, memory) in [
        (0, None, 100),
        (10_000, Some(10.0), 200),
        (20_000, Some(30.0), 600),
    ] {
        series.add(sample(begin + ms, cpu, memory)).unwrap();
    }
    let points = series.read(at(0), at(60_000), at(60_000)).unwrap();
    let [point] = points.as_slice() else {
        panic!("{points:?}");
    };
    assert_eq!((point.samples, point.cpu_millis), (3, Some(20.0)));
    assert!((point.memory_bytes - 300.0).abs() < 1e-6, "{point:?}");
    assert_eq!(point.traffic.unwrap().received_bytes, 600);
    assert_eq!(point.at, at(begin + 20_000));
}

#[test]
fn old_times_are_kept_coarser_and_then_not_at_all() {
    let (folder, series) = series();
    let every = 30_000;
    let end = 15 * DAY_MS;
    for index in 0..=end / every {
        series.add(sample(index * every, Some(1.0), 1)).unwrap();
    }
    let now = at(end);
    let points = series.read(at(0), now, now).unwrap();
    assert!(points.is_sorted_by_key(|point| point.at));
    let age = |point: &Point| now.duration_since(point.at);
    let samples_at = |hours: i64| {
        let wanted = SignedDuration::from_hours(hours);
        let found = points.iter().rev().find(|point| age(point) >= wanted);
        found.map(|point| point.samples)
    };
    assert_eq!(samples_at(1), Some(1));
    assert_eq!(samples_at(3), Some(10));
    assert_eq!(samples_at(30), Some(120));
    assert_eq!(samples_at(14 * 24 + 1), None);
    let size = std::fs::metadata(folder.path().join("series"))
        .unwrap()
        .len();
    assert!(size <= FILE_MAX_BYTES, "{size}");
}

#[test]
fn a_file_of_another_form_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("series");
    std::fs::write(&path, "something else").unwrap();
    assert!(Series::open(&path).unwrap().is_none());
    let series = Series::create(&path).unwrap();
    series.add(sample(0, None, 3)).unwrap();
    let series = Series::open(&path).unwrap().unwrap();
    assert_eq!(series.read(at(0), at(0), at(0)).unwrap().len(), 1);
    assert!(
        Series::open(&folder.path().join("none")).unwrap().is_none(),
        "there is none"
    );
}

proptest! {
    /// Whatever pauses there are between samples, and whatever of the file is destroyed.
    #[test]
    fn what_is_read_was_written_within_the_range_and_the_file_does_not_grow(
        gaps in prop::collection::vec(prop_oneof![1_000..120_000_i64, 1..4 * DAY_MS], 1..120),
        from in 0..40 * DAY_MS,
        length in 0..20 * DAY_MS,
        torn in prop::option::of(0..FILE_MAX_BYTES),
    ) {
        let (folder, series) = series();
        let mut times = Vec::new();
        let mut now = 0;
        for gap in &gaps {
            now += gap;
            series.add(sample(now, Some(2.0), 5)).unwrap();
            times.push(now);
        }
        if let Some(torn) = torn {
            series.file.write_all_at(&[0xff; 3], torn).unwrap();
        }
        let to = from + length;
        let points = series.read(at(from), at(to), at(now)).unwrap();
        let size = std::fs::metadata(folder.path().join("series")).unwrap().len();
        prop_assert!(size <= FILE_MAX_BYTES + 3);
        prop_assert!(points.is_sorted_by_key(|point| point.at));
        for point in &points {
            prop_assert!((at(from)..=at(to)).contains(&point.at));
            prop_assert!(times.iter().any(|time| at(*time) == point.at));
            prop_assert_eq!(point.cpu_millis, Some(2.0));
        }
        // Each sample is in one point at most, and the newest in exactly one.
        let all = series.read(at(0), at(now), at(now)).unwrap();
        let counted: u64 = all.iter().map(|point| u64::from(point.samples)).sum();
        prop_assert!(counted <= times.len() as u64);
        if torn.is_none() {
            prop_assert_eq!(all.last().map(|point| point.at), Some(at(now)));
            // Nothing of the last hour and a half is missing, or coarser than it came.
            let recent = times.iter().filter(|time| now - **time < 5_400_000).count() as u64;
            let told: u64 = all.iter().filter(|point| at(now).duration_since(point.at).as_millis() < 5_400_000)
                .map(|point| u64::from(point.samples)).sum();
            prop_assert!(told >= recent, "{told} of {recent}");
        }
    }
}
