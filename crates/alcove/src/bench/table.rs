//! Results for people: columns of text.

use std::fmt::Write as _;

use super::stats::Summary;

/// One line a measure, in milliseconds.
pub fn summaries(rows: &[(&str, Option<&Summary>)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{:width$}  {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "ms", "count", "min", "p50", "p90", "p99", "max"
    );
    for (name, summary) in rows {
        let Some(s) = summary else {
            let _ = writeln!(out, "{name:width$}  not measured");
            continue;
        };
        let _ = writeln!(
            out,
            "{name:width$}  {:>6} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
            s.count, s.min_ms, s.p50_ms, s.p90_ms, s.p99_ms, s.max_ms
        );
    }
    out
}

/// One line a fact.
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in rows {
        let _ = writeln!(out, "{name:width$}  {value}");
    }
    out
}

pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes_in_mib(bytes))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a host has far fewer than 2^52 bytes"
)]
pub fn bytes_in_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_what_was_not_measured_says_so() {
        let summary = Summary::of(&[Duration::from_micros(1234)]);
        let text = summaries(&[("create", summary.as_ref()), ("first output", None)]);
        let expected = "\
ms             count      min      p50      p90      p99      max
create             1     1.23     1.23     1.23     1.23     1.23
first output  not measured
";
        assert_eq!(text, expected);
    }
}
