//! What many durations come to.

use std::time::Duration;

use serde::Serialize;

/// Durations of one measure, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub count: usize,
    pub min_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Summary {
    /// `None` where nothing was measured.
    pub fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        Some(Self {
            count: sorted.len(),
            min_ms: ms(*sorted.first()?),
            p50_ms: ms(percentile(&sorted, 50)?),
            p90_ms: ms(percentile(&sorted, 90)?),
            p99_ms: ms(percentile(&sorted, 99)?),
            max_ms: ms(*sorted.last()?),
        })
    }
}

/// The smallest sample that at least so many percent of all samples do not exceed: always one that was
/// measured, never one in between.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// How many times the second median goes into the first.
pub fn ratio(of: Option<&Summary>, to: Option<&Summary>) -> Option<f64> {
    let (of, to) = (of?.p50_ms, to?.p50_ms);
    (to > 0.0).then(|| of / to)
}

/// To the microsecond: more is noise.
pub fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(ms: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        ms.into_iter().map(Duration::from_millis).collect()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn of_a_hundred_samples_the_percentiles_are_those_ranks() {
        // Downwards, so that only sorting gets it right.
        let summary = Summary::of(&samples((1..=100).rev())).expect("there are samples");
        assert_eq!(summary.count, 100);
        for (measured, expected) in [
            (summary.min_ms, 1.0),
            (summary.p50_ms, 50.0),
            (summary.p90_ms, 90.0),
            (summary.p99_ms, 99.0),
            (summary.max_ms, 100.0),
        ] {
            assert!(close(measured, expected), "{summary:?}");
        }
    }

    #[test]
    fn one_sample_is_all_of_its_percentiles() {
        let summary = Summary::of(&samples([7])).expect("there is a sample");
        for measured in [
            summary.min_ms,
            summary.p50_ms,
            summary.p99_ms,
            summary.max_ms,
        ] {
            assert!(close(measured, 7.0), "{summary:?}");
        }
    }

    #[test]
    fn a_percentile_is_a_sample_and_the_rare_slow_one_is_in_the_99th_only_when_it_is_not_rare() {
        let mut many = samples(std::iter::repeat_n(1, 199));
        many.push(Duration::from_millis(500));
        let rare = Summary::of(&many).expect("there are samples");
        assert!(
            close(rare.p99_ms, 1.0) && close(rare.max_ms, 500.0),
            "{rare:?}"
        );
        many.extend(samples([500, 500]));
        let often = Summary::of(&many).expect("there are samples");
        assert!(close(often.p99_ms, 500.0), "{often:?}");
    }

    #[test]
    fn nothing_measured_is_no_summary_and_no_ratio() {
        assert_eq!(Summary::of(&[]), None);
        let some = Summary::of(&samples([3]));
        assert_eq!(ratio(some.as_ref(), None), None);
        assert_eq!(ratio(None, some.as_ref()), None);
        let zero = Summary::of(&[Duration::ZERO]);
        assert_eq!(ratio(some.as_ref(), zero.as_ref()), None);
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let (nine, three) = (
            Summary::of(&samples([1, 9, 90])),
            Summary::of(&samples([3])),
        );
        let ratio = ratio(nine.as_ref(), three.as_ref()).expect("both were measured");
        assert!(close(ratio, 3.0), "{ratio}");
    }
}
