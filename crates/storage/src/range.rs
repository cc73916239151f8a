//! Which bytes of an object are wanted.

/// A range as HTTP has it; both ends count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl ByteRange {
    /// Reads a `Range` header. Several ranges at once are none: who may not get them gets the whole, or is refused.
    pub fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
        match (first, last) {
            ("", count) => number(count).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Where it begins and ends (the latter not counted) in `size` bytes; None if it holds none of them.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            Self::From(start) => (start, size),
            Self::Between(first, last) => (first, last.saturating_add(1).min(size)),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        (start < end).then_some((start, end))
    }
}

/// Digits only: a sign is no part of it.
fn number(text: &str) -> Option<u64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_range_or_none() {
        for (header, range) in [
            ("bytes=0-", Some(ByteRange::From(0))),
            ("bytes=5-9", Some(ByteRange::Between(5, 9))),
            ("bytes=-7", Some(ByteRange::Last(7))),
            ("bytes=9-5", None),
            ("bytes=1-2,4-5", None),
            ("bytes=+1-2", None),
            ("bytes=-", None),
            ("items=1-2", None),
            ("bytes=99999999999999999999-", None),
            ("", None),
        ] {
            assert_eq!(ByteRange::parse(header), range, "{header}");
        }
    }

    #[test]
    fn a_range_is_cut_to_the_object() {
        for (range, size, within) in [
            (ByteRange::From(0), 10, Some((0, 10))),
            (ByteRange::From(9), 10, Some((9, 10))),
            (ByteRange::From(10), 10, None),
            (ByteRange::Between(2, 3), 10, Some((2, 4))),
            (ByteRange::Between(2, u64::MAX), 10, Some((2, 10))),
            (ByteRange::Between(3, 2), 10, None),
            (ByteRange::Last(3), 10, Some((7, 10))),
            (ByteRange::Last(30), 10, Some((0, 10))),
            (ByteRange::Last(0), 10, None),
            (ByteRange::From(0), 0, None),
        ] {
            assert_eq!(range.within(size), within, "{range:?} of {size}");
        }
    }
}
