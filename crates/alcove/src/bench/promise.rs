//! Targets beside what was measured.

use std::fmt::Write as _;

/// One promise and how it was kept.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub name: &'static str,
    pub target: String,
    pub measured: String,
    pub is_met: bool,
}

impl Row {
    pub fn at_most(name: &'static str, target: f64, measured: f64, unit: &str) -> Self {
        Self {
            name,
            target: format!("at most {target} {unit}"),
            measured: format!("{measured:.2} {unit}"),
            is_met: measured <= target,
        }
    }

    pub fn at_least(name: &'static str, target: f64, ratio: f64, what: &str) -> Self {
        Self {
            name,
            target: format!("at least {target}"),
            measured: format!("{ratio:.2} ({what})"),
            is_met: ratio >= target,
        }
    }
}

/// One line a promise; those that were not kept say so.
pub fn table(rows: &[Row]) -> String {
    let longest = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let name = longest(|row| row.name.len());
    let target = longest(|row| row.target.len());
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:name$}  {:target$}  measured", "", "target");
    for row in rows {
        let verdict = if row.is_met { "" } else { "  MISSED" };
        let _ = writeln!(
            out,
            "{:name$}  {:target$}  {}{verdict}",
            row.name, row.target, row.measured
        );
    }
    out
}
