//! The extended header that may stand before an entry of a tar archive: `LENGTH KEY=VALUE\n`, repeated.

use super::error::EntryError;

/// What the extended header says about the next entry. Absent means that the plain header holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds since 1970.
    pub mtime: Option<(i64, u32)>,
    /// Names and values of extended attributes, unfiltered.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Reads an extended header. Keys that we do not know are passed over, as the format asks.
    pub fn parse(mut rest: &[u8]) -> Result<Self, EntryError> {
        let mut pax = Self::default();
        while !rest.is_empty() {
            // The length counts itself, and values may hold line ends: only the length tells the end.
            let space = rest
                .iter()
                .take(20)
                .position(|byte| *byte == b' ')
                .ok_or(EntryError::BadExtension)?;
            let length = decimal(&rest[..space])
                .and_then(|length| usize::try_from(length).ok())
                .filter(|length| *length > space + 1 && *length <= rest.len())
                .ok_or(EntryError::BadExtension)?;
            let record = rest[space + 1..length]
                .strip_suffix(b"\n")
                .ok_or(EntryError::BadExtension)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or(EntryError::BadExtension)?;
            pax.set(&record[..equals], &record[equals + 1..])?;
            rest = &rest[length..];
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), EntryError> {
        // An empty value takes an earlier one back.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = number("size", value)?,
            b"uid" => self.uid = number("uid", value)?,
            b"gid" => self.gid = number("gid", value)?,
            b"mtime" if given => {
                self.mtime = Some(seconds(value).ok_or(EntryError::BadNumber { field: "mtime" })?);
            }
            _ if key.starts_with(b"GNU.sparse.") => return Err(EntryError::Sparse),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

fn number(field: &'static str, value: &[u8]) -> Result<Option<u64>, EntryError> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value)
        .map(Some)
        .ok_or(EntryError::BadNumber { field })
}

/// Reads `[-]SECONDS[.FRACTION]`.
fn seconds(value: &[u8]) -> Option<(i64, u32)> {
    let (is_negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next().filter(|fraction| !fraction.is_empty()) {
        let mut digits = fraction.to_vec();
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        digits.resize(9, b'0');
        nanoseconds = u32::try_from(decimal(&digits)?).ok()?;
    }
    Some(match (is_negative, nanoseconds) {
        (false, _) => (whole, nanoseconds),
        (true, 0) => (-whole, 0),
        // The kernel counts nanoseconds forwards from the second before.
        (true, _) => (-whole - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::super::testing::pax_record;
    use super::*;

    #[test]
    fn a_value_may_hold_line_ends_and_equals_signs() {
        let mut bytes = pax_record("SCHILY.xattr.security.capability", b"\x01\n=\0\n");
        bytes.extend(pax_record("path", b"a=b"));
        let pax = Pax::parse(&bytes).unwrap();
        assert_eq!(
            pax.xattrs,
            [(b"security.capability".to_vec(), b"\x01\n=\0\n".to_vec())]
        );
        assert_eq!(pax.path.unwrap(), b"a=b");
    }

    #[test]
    fn times_before_1970_count_nanoseconds_forwards() {
        assert_eq!(seconds(b"12"), Some((12, 0)));
        assert_eq!(seconds(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(seconds(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(seconds(b"-3"), Some((-3, 0)));
        for text in ["", ".", "-", "1.x", "1e9", "99999999999999999999"] {
            assert_eq!(seconds(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        for text in [
            &b"12 path=abc"[..],
            b"5 a=b\n",
            b"2 ",
            b"x path=a\n",
            b"999999999999999999999 path=a\n",
            b"11 pathabcd\n",
            b"11 size=-1x\n",
        ] {
            assert!(Pax::parse(text).is_err(), "{:?}", text.escape_ascii());
        }
        assert!(matches!(
            Pax::parse(&pax_record("GNU.sparse.major", b"1")),
            Err(EntryError::Sparse)
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Pax::parse(&bytes);
        }

        #[test]
        fn what_was_written_is_read(path in prop::collection::vec(any::<u8>(), 1..300), uid: u64) {
            let mut bytes = pax_record("path", &path);
            bytes.extend(pax_record("uid", uid.to_string().as_bytes()));
            bytes.extend(pax_record("comment", b"passed over"));
            let pax = Pax::parse(&bytes).unwrap();
            prop_assert_eq!(pax, Pax { path: Some(path), uid: Some(uid), ..Pax::default() });
        }
    }
}
