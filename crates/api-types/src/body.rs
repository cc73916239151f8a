//! Reading a request body field by field, so that a refusal names everything that is wrong with it.
//!
//! Serde stops at the first mistake. People fix a body faster when they are told all of them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The fields of a body and what was wrong with those read so far.
#[derive(Debug)]
pub struct BodyFields {
    fields: Map<String, Value>,
    reasons: Vec<String>,
}

impl BodyFields {
    /// A field that may be absent. `null` is the same as absent: some clients write it for unset.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.fields.remove(name).filter(|value| !value.is_null())?;
        let read = serde_json::from_value(value).ok();
        if read.is_none() {
            self.reasons.push(format!("{name} must be {expected}"));
        }
        read
    }

    /// Whether the field is there, be it as `null`.
    pub fn contains(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Whether the field is there and not `null`.
    pub fn is_given(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// Refuses a field that means something elsewhere and cannot be had here.
    pub fn refuse(&mut self, name: &str, why: &str) {
        if self.is_given(name) {
            self.reasons.push(format!("{name} {why}"));
        }
    }

    /// A field that must be there.
    pub fn required<T: DeserializeOwned + Default>(&mut self, name: &str, expected: &str) -> T {
        let is_missing = self.fields.get(name).is_none_or(Value::is_null);
        if is_missing {
            self.reasons.push(format!("{name} must be {expected}"));
            return T::default();
        }
        self.optional(name, expected).unwrap_or_default()
    }

    /// A value that was taken out already, as something else.
    pub fn read<T: DeserializeOwned>(&mut self, name: &str, value: Value) -> Option<T> {
        match serde_json::from_value(value) {
            Ok(read) => Some(read),
            Err(error) => {
                self.reasons.push(format!("{name} cannot be read: {error}"));
                None
            }
        }
    }

    /// A text that may be set, taken away by `null`, or left alone by being absent.
    pub fn text_change(&mut self, name: &str) -> TextChange {
        match self.fields.get(name) {
            None => TextChange::Keep,
            Some(Value::Null) => TextChange::Remove,
            Some(_) => self.text(name).map_or(TextChange::Keep, TextChange::Set),
        }
    }

    /// A number that is not below zero.
    pub fn amount(&mut self, name: &str) -> Option<f64> {
        let amount: Option<f64> = self.optional(name, "a number");
        if amount.is_some_and(|amount| amount < 0.0) {
            self.reasons.push(format!("{name} must not be less than 0"));
        }
        amount
    }

    /// A whole number. A text of digits counts as one, as the original coerced values too.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        if let Some(Value::String(text)) = self.fields.get(name)
            && let Ok(number) = text.trim().parse::<i64>()
        {
            self.fields.insert(name.to_owned(), number.into());
        }
        // JavaScript has no integers: 5 may arrive as 5.0 from a client that computed it.
        if let Some(number) = self.fields.get(name).and_then(Value::as_f64)
            && number.fract() == 0.0
            && number.abs() < 9e15
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole and below 2^53, checked above"
            )]
            self.fields.insert(name.to_owned(), (number as i64).into());
        }
        self.optional(name, "an integer number")
    }

    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.fields.get(name).and_then(Value::as_str) {
            Some("true") => self.fields.insert(name.to_owned(), true.into()),
            Some("false") => self.fields.insert(name.to_owned(), false.into()),
            _ => None,
        };
        self.optional(name, "a boolean value")
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        self.optional(name, "a string")
    }
}

/// What is to become of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TextChange {
    #[default]
    Keep,
    Remove,
    Set(String),
}

/// A body that is one value, with reasons of its own if it is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromBody for WholeBody<T> {
    fn from_fields(fields: &mut BodyFields) -> Self {
        let whole = Value::Object(std::mem::take(&mut fields.fields));
        match serde_json::from_value(whole) {
            Ok(value) => Self(value),
            Err(error) => {
                fields
                    .reasons
                    .push(format!("the body cannot be read: {error}"));
                Self(T::default())
            }
        }
    }
}

/// A request body. Unknown fields are ignored.
pub trait FromBody: Sized {
    fn from_fields(fields: &mut BodyFields) -> Self;

    /// Reads a parsed body; the error holds every reason.
    fn from_json(body: Value) -> Result<Self, Vec<String>> {
        let Value::Object(fields) = body else {
            return Err(vec!["the body must be a JSON object".to_owned()]);
        };
        let mut fields = BodyFields {
            fields,
            reasons: Vec::new(),
        };
        let body = Self::from_fields(&mut fields);
        if fields.reasons.is_empty() {
            Ok(body)
        } else {
            Err(fields.reasons)
        }
    }
}
