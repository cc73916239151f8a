//! Points in time as all clients read them: ISO 8601, UTC, milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A point in time, written like `2026-01-31T12:00:00.000Z`.
///
/// The number of digits is fixed, because clients compare these texts and some date parsers take
/// three or six digits only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub jiff::Timestamp);

impl From<jiff::Timestamp> for Timestamp {
    fn from(at: jiff::Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

/// A text is not a point in time with a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampError;

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an ISO 8601 date and time with a zone")
    }
}

impl std::error::Error for TimestampError {}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Python clients write `+0000` without a colon, TypeScript clients `Z`.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at));
        }
        jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text)
            .and_then(|parts| parts.to_timestamp())
            .map(Self)
            .map_err(|_| TimestampError)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Timestamp")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_time_has_always_three_digits_after_the_second() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_999_999, "1970-01-01T00:00:00.001Z"),
            (120_000_000, "1970-01-01T00:00:00.120Z"),
        ] {
            let at = Timestamp(jiff::Timestamp::from_nanosecond(nanos).unwrap());
            assert_eq!(at.to_string(), text);
        }
    }

    #[test]
    fn the_zones_of_both_sdks_are_read() {
        let wanted = "2026-01-01T00:00:00.000Z".parse::<Timestamp>().unwrap();
        for text in [
            "2026-01-01T00:00:00.000000+0000",
            "2026-01-01T00:00:00Z",
            "2026-01-01T02:00:00+02:00",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Ok(wanted), "{text}");
        }
        assert_eq!("2026-01-01".parse::<Timestamp>(), Err(TimestampError));
    }
}
