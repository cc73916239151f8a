//! Reading the input of an action, and saying what it may be: both from one declaration.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{InputField, Kind};

/// The keys of an input, what was wrong with those read so far, and what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    given: Map<String, Value>,
    reasons: Vec<String>,
    declared: Vec<InputField>,
}

/// So many unknown keys are told by name.
const UNKNOWN_TOLD: usize = 8;
/// So much of an unknown key is told.
const KEY_TOLD_CHARS: usize = 64;

impl Fields {
    pub(crate) fn of(given: Map<String, Value>) -> Self {
        Self {
            given,
            ..Self::default()
        }
    }

    /// What was asked for, in order.
    pub(crate) fn declared(self) -> Vec<InputField> {
        self.declared
    }

    /// Everything that is wrong with the input.
    pub(crate) fn into_reasons(mut self) -> Vec<String> {
        let unknown = self.given.keys().take(UNKNOWN_TOLD).map(|key| {
            let key: String = key.chars().take(KEY_TOLD_CHARS).collect();
            format!("there is no input key {key:?}")
        });
        self.reasons.extend(unknown);
        self.reasons
    }

    /// The value of a key; `null` is the same as none.
    fn take(
        &mut self,
        name: &'static str,
        kind: Kind,
        is_required: bool,
        about: &'static str,
    ) -> Option<Value> {
        self.declared.push(InputField {
            name,
            kind,
            is_required,
            about,
        });
        let value = self.given.remove(name).filter(|value| !value.is_null());
        if value.is_none() && is_required {
            self.reasons.push(format!("{name} is required"));
        }
        value
    }

    fn wrong<T>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.reasons.push(format!("{name} must be {expected}"));
        None
    }

    fn as_text(&mut self, name: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            _ => self.wrong(name, "a string"),
        }
    }

    pub(crate) fn text(&mut self, name: &'static str, about: &'static str) -> Option<String> {
        let value = self.take(name, Kind::Text, false, about)?;
        self.as_text(name, value)
    }

    /// A text that must be there; it may be empty.
    pub(crate) fn required_text(&mut self, name: &'static str, about: &'static str) -> String {
        let value = self.take(name, Kind::Text, true, about);
        value
            .and_then(|value| self.as_text(name, value))
            .unwrap_or_default()
    }

    /// A text that must be there and says something.
    pub(crate) fn name(&mut self, name: &'static str, about: &'static str) -> String {
        let value = self.take(name, Kind::Text, true, about);
        let text = value.and_then(|value| self.as_text(name, value));
        if text.as_deref() == Some("") {
            self.reasons.push(format!("{name} must not be empty"));
        }
        text.unwrap_or_default()
    }

    /// The sandbox that an action is about.
    pub(crate) fn sandbox(&mut self) -> String {
        self.name("sandbox_id", "Id or name of the sandbox")
    }

    pub(crate) fn boolean(&mut self, name: &'static str, about: &'static str) -> Option<bool> {
        match self.take(name, Kind::Boolean, false, about)? {
            Value::Bool(value) => Some(value),
            _ => self.wrong(name, "a boolean"),
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str, about: &'static str) -> Option<i64> {
        let value = self.take(name, Kind::Integer, false, about)?;
        whole_number(&value).or_else(|| self.wrong(name, "an integer"))
    }

    pub(crate) fn required_integer(&mut self, name: &'static str, about: &'static str) -> i64 {
        let value = self.take(name, Kind::Integer, true, about);
        value
            .and_then(|value| whole_number(&value).or_else(|| self.wrong(name, "an integer")))
            .unwrap_or_default()
    }

    /// A number of seconds, at least one.
    pub(crate) fn seconds(&mut self, name: &'static str, about: &'static str) -> Option<u64> {
        let number = self.integer(name, about)?;
        match u64::try_from(number) {
            Ok(seconds @ 1..) => Some(seconds),
            // The toolbox takes 0 for no limit, and an action has one always.
            _ => self.wrong(name, "at least 1"),
        }
    }

    /// An object of short values. Numbers and booleans are taken for how they are written.
    pub(crate) fn texts(
        &mut self,
        name: &'static str,
        about: &'static str,
    ) -> Option<BTreeMap<String, String>> {
        let Value::Object(entries) = self.take(name, Kind::Free, false, about)? else {
            return self.wrong(name, "an object");
        };
        let mut texts = BTreeMap::new();
        for (key, value) in entries {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    let key: String = key.chars().take(KEY_TOLD_CHARS).collect();
                    return self.wrong(&format!("{name}.{key}"), "a string, a number or a boolean");
                }
            };
            texts.insert(key, text);
        }
        Some(texts)
    }
}

/// JavaScript has no integers: 5 may arrive as 5.0.
fn whole_number(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and below 2^53, checked beside it"
    )]
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;

    fn fields(given: &Value) -> Fields {
        Fields::of(given.as_object().unwrap().clone())
    }

    #[test]
    fn integers_may_be_written_as_fractions_of_nothing_but_not_as_text() {
        for (value, expected) in [
            (json!(5), Some(5)),
            (json!(5.0), Some(5)),
            (json!(-1), Some(-1)),
            (json!(null), None),
        ] {
            let mut fields = fields(&json!({ "n": value }));
            assert_eq!(fields.integer("n", ""), expected, "{value}");
            assert!(fields.into_reasons().is_empty(), "{value}");
        }
        for value in [json!("5"), json!(5.5), json!(1e300), json!(true), json!([])] {
            let mut fields = fields(&json!({ "n": value }));
            assert_eq!(fields.integer("n", ""), None, "{value}");
            assert_eq!(fields.into_reasons(), ["n must be an integer"]);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_by_its_key() {
        let mut fields = fields(&json!({"b": 1, "env": {"x": []}, "t": 0, "who": 1, "s": ""}));
        fields.name("a", "");
        fields.boolean("b", "");
        fields.texts("env", "");
        fields.seconds("t", "");
        fields.name("s", "");
        assert_eq!(
            fields.into_reasons(),
            [
                "a is required",
                "b must be a boolean",
                "env.x must be a string, a number or a boolean",
                "t must be at least 1",
                "s must not be empty",
                "there is no input key \"who\"",
            ]
        );
    }

    #[test]
    fn values_of_an_environment_become_text() {
        let mut fields = fields(&json!({"env": {"a": "x", "b": 1, "c": 1.5, "d": true}}));
        let texts = fields.texts("env", "").unwrap();
        assert_eq!(
            texts.into_values().collect::<Vec<_>>(),
            ["x", "1", "1.5", "true"]
        );
    }
}
