//! Between columns and the domain's types.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::StoreError;

/// Where a value stands, for messages about values that make no sense.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub table: &'static str,
    pub column: &'static str,
}

impl Place {
    pub(crate) fn bad(self, value: impl Into<String>) -> StoreError {
        StoreError::Inconsistent {
            table: self.table,
            column: self.column,
            value: value.into(),
        }
    }

    pub(crate) fn time(self, milliseconds: i64) -> Result<Timestamp, StoreError> {
        Timestamp::from_millisecond(milliseconds).map_err(|_| self.bad(milliseconds.to_string()))
    }

    pub(crate) fn time_option(
        self,
        milliseconds: Option<i64>,
    ) -> Result<Option<Timestamp>, StoreError> {
        milliseconds.map(|at| self.time(at)).transpose()
    }

    pub(crate) fn unsigned(self, number: i64) -> Result<u64, StoreError> {
        u64::try_from(number).map_err(|_| self.bad(number.to_string()))
    }

    pub(crate) fn small(self, number: i64) -> Result<u32, StoreError> {
        u32::try_from(number).map_err(|_| self.bad(number.to_string()))
    }

    pub(crate) fn small_option(self, number: Option<i64>) -> Result<Option<u32>, StoreError> {
        number.map(|number| self.small(number)).transpose()
    }

    pub(crate) fn id<T: TryFrom<String>>(self, text: String) -> Result<T, StoreError> {
        T::try_from(text.clone()).map_err(|_| self.bad(text))
    }

    pub(crate) fn word<T>(
        self,
        text: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(text).ok_or_else(|| self.bad(text))
    }

    pub(crate) fn map(self, text: &str) -> Result<BTreeMap<String, String>, StoreError> {
        serde_json::from_str(text).map_err(|_| self.bad(text))
    }

    pub(crate) fn list(self, text: &str) -> Result<Vec<String>, StoreError> {
        serde_json::from_str(text).map_err(|_| self.bad(text))
    }
}

/// A number for a bigint column; what does not fit (2^63 and more never occurs) is held at the largest.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn json_map(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).expect("a map of strings is always JSON")
}

pub(crate) fn json_list(list: &[String]) -> String {
    serde_json::to_string(list).expect("a list of strings is always JSON")
}
