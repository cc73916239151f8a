//! Query strings as clients write them.
//!
//! Arrays come as a repeated key (`states=a&states=b`) and in brackets (`states[]=a`, `states[0]=a`).
//! The literal `null` and the empty text mean that a filter is not set: Python clients before 0.180 send
//! `labels=null` for "no labels".

use std::collections::BTreeMap;
use std::str::FromStr;

use alcove_api_types::Timestamp;
use percent_encoding::percent_decode;

use crate::error::ApiError;

/// What a parameter can be compared by, in brackets behind its name.
const OPERATORS: [&str; 8] = ["eq", "not", "in", "notIn", "gte", "lte", "gt", "lt"];

fn is_operator(word: &str) -> bool {
    OPERATORS.contains(&word)
}

/// The parameters of one request, and what was wrong with those read so far.
#[derive(Debug, Default)]
pub(crate) struct Query {
    values: BTreeMap<String, Vec<String>>,
    reasons: Vec<String>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            // What stands in brackets is where in a list it is, or what it is compared by.
            let name = match name.split_once('[') {
                Some((plain, rest)) => match rest.strip_suffix(']') {
                    Some(word) if is_operator(word) => name.as_str(),
                    Some(_) => plain,
                    None => name.as_str(),
                },
                None => name.as_str(),
            };
            values
                .entry(name.to_owned())
                .or_default()
                .push(decode(value));
        }
        Self {
            values,
            reasons: Vec::new(),
        }
    }

    /// Refuses the request if anything that was read cannot be used. To be called when all of it was read.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.reasons.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(&self.reasons))
        }
    }

    /// Refuses the request, for this reason.
    pub(crate) fn refuse(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// Refuses what a parameter is compared by that was not read.
    pub(crate) fn refuse_operators(&mut self, name: &str) {
        for operator in OPERATORS {
            let key = format!("{name}[{operator}]");
            if self.values.contains_key(&key) {
                self.reasons.push(format!("{key} is not supported"));
            }
        }
    }

    pub(crate) fn texts(&mut self, name: &str) -> Vec<String> {
        let values = self.values.remove(name).unwrap_or_default();
        // PostgreSQL does not even let it be compared.
        if values.iter().any(|value| value.contains('\0')) {
            self.reasons
                .push(format!("{name} must not contain a NUL character"));
        }
        values.into_iter().filter(|value| is_set(value)).collect()
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        // The last one wins, as a form filled in twice would have it.
        self.texts(name).pop()
    }

    fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.reasons.push(format!("{name} must be {expected}"));
        }
        value
    }

    /// A whole number; `2.0` is one.
    pub(crate) fn integer(&mut self, name: &str) -> Option<i64> {
        if let Some(values) = self.values.get_mut(name) {
            for value in values {
                if let Some(whole) = value.strip_suffix(".0") {
                    *value = whole.to_owned();
                }
            }
        }
        self.parsed(name, "an integer number")
    }

    /// A number, whole or not.
    pub(crate) fn number(&mut self, name: &str) -> Option<f64> {
        self.parsed(name, "a number")
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => {
                self.reasons.push(format!("{name} must be a boolean value"));
                None
            }
        }
    }

    pub(crate) fn timestamp(&mut self, name: &str) -> Option<jiff::Timestamp> {
        self.parsed::<Timestamp>(name, "an ISO 8601 date and time with a zone")
            .map(|at| at.0)
    }

    /// Milliseconds since 1970.
    pub(crate) fn milliseconds(&mut self, name: &str) -> Option<jiff::Timestamp> {
        let at = jiff::Timestamp::from_millisecond(self.integer(name)?).ok();
        if at.is_none() {
            self.reasons.push(format!("{name} is no time"));
        }
        at
    }

    /// One of a list of words.
    pub(crate) fn word<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.reasons.push(format!("{name} does not take {text:?}"));
        }
        value
    }

    /// Any number of words of a list.
    pub(crate) fn words<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let texts = self.texts(name);
        let mut values = Vec::with_capacity(texts.len());
        for text in texts {
            match parse(&text) {
                Some(value) => values.push(value),
                None => self.reasons.push(format!("{name} does not take {text:?}")),
            }
        }
        values
    }

    /// A JSON object of strings, as `labels` has it.
    pub(crate) fn object(&mut self, name: &str) -> BTreeMap<String, String> {
        let Some(text) = self.text(name) else {
            return BTreeMap::new();
        };
        serde_json::from_str(&text).unwrap_or_else(|_| {
            self.reasons
                .push(format!("{name} must be a JSON object of strings"));
            BTreeMap::new()
        })
    }
}

fn is_set(value: &str) -> bool {
    !value.is_empty() && value != "null" && value != "undefined"
}

fn decode(text: &str) -> String {
    let spaced: Vec<u8> = text
        .bytes()
        .map(|byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_in_all_three_spellings() {
        for text in [
            "states=started&states=stopped",
            "states[]=started&states[]=stopped",
            "states%5B0%5D=started&states%5B1%5D=stopped",
        ] {
            assert_eq!(Query::parse(text).texts("states"), ["started", "stopped"]);
        }
    }

    #[test]
    fn null_and_nothing_are_no_filter() {
        for text in ["labels=null", "labels=", "", "labels"] {
            let mut query = Query::parse(text);
            assert!(query.object("labels").is_empty());
            assert_eq!(query.reasons, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn values_are_coerced_and_every_mistake_is_named() {
        let mut query = Query::parse(
            "limit=10&minCpu=2.0&isPublic=true&after=2026-01-01T00%3A00%3A00.000000%2B0000\
             &page=one&maxCpu=1.5&name=a+b%26c",
        );
        assert_eq!(query.integer("limit"), Some(10));
        assert_eq!(query.integer("minCpu"), Some(2));
        assert_eq!(query.boolean("isPublic"), Some(true));
        assert!(query.timestamp("after").is_some());
        assert_eq!(query.text("name").as_deref(), Some("a b&c"));
        assert_eq!(query.integer("page"), None);
        assert_eq!(query.integer("maxCpu"), None);
        assert_eq!(
            query.reasons,
            [
                "page must be an integer number",
                "maxCpu must be an integer number"
            ]
        );
    }
}
