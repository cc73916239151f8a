//! How long the steps of a piece of work took, for one line in the log.

use std::fmt;
use std::time::{Duration, Instant};

/// A stopwatch: each lap ends one step and begins the next.
#[derive(Debug)]
pub struct Laps {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Laps {
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
            laps: Vec::new(),
        }
    }

    pub fn lap(&mut self, step: &'static str) {
        let now = Instant::now();
        self.laps.push((step, now - self.last));
        self.last = now;
    }

    pub fn total(&self) -> Duration {
        self.laps.iter().map(|(_, took)| *took).sum()
    }
}

/// `disk 0.21, root 0.83`, in milliseconds.
impl fmt::Display for Laps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (step, took)) in self.laps.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{step} {:.2}", took.as_secs_f64() * 1000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_order_and_add_up() {
        let mut laps = Laps::start();
        laps.lap("disk");
        laps.lap("root");
        assert_eq!(laps.total(), laps.laps[0].1 + laps.laps[1].1);
        let text = laps.to_string();
        assert!(
            text.starts_with("disk ") && text.contains(", root "),
            "{text}"
        );
    }
}
