//! What sessions used of the host, as the runner told it at their end.

use std::fmt;
use std::num::ParseIntError;

/// What one session used. None is what nobody counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunUsage {
    pub cpu_ms: Option<u64>,
    pub traffic: Option<Traffic>,
}

/// Bytes that a sandbox was sent, and has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

/// What the sessions of a sandbox that are over used together, as far as it was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TotalUsage {
    pub duration_ms: u64,
    pub used: RunUsage,
}

impl RunUsage {
    fn plus(self, more: Self) -> Self {
        Self {
            cpu_ms: sum(self.cpu_ms, more.cpu_ms, u64::saturating_add),
            traffic: sum(self.traffic, more.traffic, |one, other| Traffic {
                received_bytes: one.received_bytes.saturating_add(other.received_bytes),
                sent_bytes: one.sent_bytes.saturating_add(other.sent_bytes),
            }),
        }
    }

    /// None for a text that is none of it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let cpu_ms = number(parts.next()?).ok()?;
        let received = number(parts.next()?).ok()?;
        let sent = number(parts.next()?).ok()?;
        let traffic = received
            .zip(sent)
            .map(|(received_bytes, sent_bytes)| Traffic {
                received_bytes,
                sent_bytes,
            });
        parts.next().is_none().then_some(Self { cpu_ms, traffic })
    }
}

impl fmt::Display for RunUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ms) = self.cpu_ms {
            write!(f, "{ms}")?;
        }
        match self.traffic {
            None => f.write_str(",,"),
            Some(traffic) => write!(f, ",{},{}", traffic.received_bytes, traffic.sent_bytes),
        }
    }
}

impl TotalUsage {
    pub(super) fn plus(self, duration_ms: u64, used: RunUsage) -> Self {
        Self {
            duration_ms: self.duration_ms.saturating_add(duration_ms),
            used: self.used.plus(used),
        }
    }

    /// None for a text that is none of it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (duration, used) = text.split_once(',')?;
        Some(Self {
            duration_ms: duration.parse().ok()?,
            used: RunUsage::parse(used)?,
        })
    }
}

impl fmt::Display for TotalUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.duration_ms, self.used)
    }
}

/// What is not counted adds nothing.
fn sum<T>(one: Option<T>, other: Option<T>, plus: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(plus(one, other)),
        (one, other) => one.or(other),
    }
}

/// Nothing is what is not counted.
///
/// # Errors
/// What is no number is nonsense.
fn number(text: &str) -> Result<Option<u64>, ParseIntError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn run(cpu_ms: Option<u64>, bytes: Option<(u64, u64)>) -> RunUsage {
        let traffic = bytes.map(|(received_bytes, sent_bytes)| Traffic {
            received_bytes,
            sent_bytes,
        });
        RunUsage { cpu_ms, traffic }
    }

    #[test]
    fn what_was_not_counted_adds_nothing_and_is_not_said_to_be_none() {
        let total = TotalUsage::default();
        let total = total.plus(10, run(None, None));
        assert_eq!(total.to_string(), "10,,,");
        let total = total.plus(5, run(Some(7), Some((1, 2))));
        let total = total.plus(5, run(None, Some((10, 20))));
        assert_eq!(total.to_string(), "20,7,11,22");
        for wrong in [
            "",
            "1",
            "1,2",
            "1,2,3",
            "1,2,3,4,5",
            "x,,,",
            ",,,",
            "1,-2,,",
        ] {
            assert_eq!(TotalUsage::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn usage_is_read_as_it_was_written(
            duration_ms: u64,
            cpu_ms in option::of(any::<u64>()),
            bytes in option::of(any::<(u64, u64)>()),
        ) {
            let used = run(cpu_ms, bytes);
            prop_assert_eq!(RunUsage::parse(&used.to_string()), Some(used));
            let total = TotalUsage { duration_ms, used };
            prop_assert_eq!(TotalUsage::parse(&total.to_string()), Some(total));
        }
    }
}
