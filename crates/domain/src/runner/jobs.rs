//! Which part of its open jobs a runner asks for, and how long it waits for new ones.

use std::time::Duration;

use crate::Reason;

/// Jobs in one answer.
const LISTED_MAX: u64 = 500;
const LISTED_DEFAULT: u64 = 100;
/// Jobs that are given out at once.
const TAKEN_MAX: u64 = 100;
const TAKEN_DEFAULT: u64 = 10;
/// Seconds that a question for work is held.
const HELD_MAX: u64 = 60;
const HELD_DEFAULT: u64 = 30;

/// A part of a list, as somebody writes it. An `offset` goes before a `page`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobsAsked {
    pub page: Option<i64>,
    pub limit: Option<i64>,
    pub offset: Option<i64>,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobsPart {
    /// From 1 on.
    pub page: u64,
    pub limit: u64,
    pub skipped: u64,
}

/// How much work somebody wants, and how many seconds it waits for some.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkAsked {
    pub limit: Option<i64>,
    pub timeout: Option<i64>,
}

impl JobsAsked {
    /// # Errors
    /// Everything that is out of bounds.
    pub fn plan(&self) -> Result<JobsPart, Vec<Reason>> {
        let mut reasons = Vec::new();
        let page = within("page", self.page, 1, 1, u64::MAX, &mut reasons);
        let limit = within(
            "limit",
            self.limit,
            LISTED_DEFAULT,
            1,
            LISTED_MAX,
            &mut reasons,
        );
        let offset = within("offset", self.offset, 0, 0, u64::MAX, &mut reasons);
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let skipped = match self.offset {
            Some(_) => offset,
            None => (page - 1).saturating_mul(limit),
        };
        Ok(JobsPart {
            page,
            limit,
            skipped,
        })
    }
}

impl JobsPart {
    pub fn of<T>(&self, all: Vec<T>) -> Vec<T> {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let rest = all.into_iter().skip(size(self.skipped));
        rest.take(size(self.limit)).collect()
    }

    pub fn pages(&self, total: u64) -> u64 {
        total.div_ceil(self.limit)
    }
}

impl WorkAsked {
    /// How many at most, and how long.
    ///
    /// # Errors
    /// Everything that is out of bounds.
    pub fn plan(&self) -> Result<(usize, Duration), Vec<Reason>> {
        let mut reasons = Vec::new();
        let limit = within(
            "limit",
            self.limit,
            TAKEN_DEFAULT,
            1,
            TAKEN_MAX,
            &mut reasons,
        );
        let seconds = within(
            "timeout",
            self.timeout,
            HELD_DEFAULT,
            0,
            HELD_MAX,
            &mut reasons,
        );
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok((limit, Duration::from_secs(seconds)))
    }
}

fn within(
    name: &str,
    given: Option<i64>,
    default: u64,
    least: u64,
    most: u64,
    reasons: &mut Vec<Reason>,
) -> u64 {
    let number = given.map_or(Some(default), |given| u64::try_from(given).ok());
    let number = number.filter(|number| (least..=most).contains(number));
    number.unwrap_or_else(|| {
        reasons.push(Reason::invalid(if most == u64::MAX {
            format!("{name} must be {least} or more")
        } else {
            format!("{name} must be {least} to {most}")
        }));
        default
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn part(page: Option<i64>, limit: Option<i64>, offset: Option<i64>) -> Option<Vec<u64>> {
        let asked = JobsAsked {
            page,
            limit,
            offset,
        };
        asked.plan().ok().map(|part| part.of((0..7).collect()))
    }

    #[test]
    fn a_page_or_an_offset_says_where_a_part_begins_and_the_limit_how_long_it_is() {
        for (page, limit, offset, found) in [
            (None, None, None, &[0, 1, 2, 3, 4, 5, 6][..]),
            (Some(2), Some(3), None, &[3, 4, 5]),
            (Some(3), Some(3), None, &[6]),
            (Some(i64::MAX), Some(500), None, &[]),
            (Some(3), Some(2), Some(1), &[1, 2]),
            (None, Some(1), Some(0), &[0]),
        ] {
            let told = part(page, limit, offset);
            assert_eq!(
                told.as_deref(),
                Some(found),
                "{page:?} {limit:?} {offset:?}"
            );
        }
        assert_eq!(JobsAsked::default().plan().unwrap().pages(101), 2);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_all_at_once() {
        let asked = JobsAsked {
            page: Some(0),
            limit: Some(501),
            offset: Some(-1),
        };
        assert_eq!(asked.plan().unwrap_err().len(), 3);
        let asked = WorkAsked {
            limit: Some(101),
            timeout: Some(61),
        };
        assert_eq!(asked.plan().unwrap_err().len(), 2);
        for (limit, timeout, planned) in [
            (None, None, (10, 30)),
            (Some(100), Some(60), (100, 60)),
            (Some(1), Some(0), (1, 0)),
        ] {
            let asked = WorkAsked { limit, timeout };
            let (limit, held) = asked.plan().unwrap();
            assert_eq!((limit, held.as_secs()), planned);
        }
    }
}
