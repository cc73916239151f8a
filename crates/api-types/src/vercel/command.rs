//! Commands: what is asked for. What is answered is the agent's own.

use std::collections::BTreeMap;

use crate::body::{BodyFields, FromBody};

/// `POST …/cmd`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the body of a request, in its own words"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunCommand {
    pub command: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub sudo: bool,
    /// Milliseconds.
    pub timeout: Option<i64>,
    pub wait: bool,
    pub logs: bool,
    /// Whether it reads what is sent to it later.
    pub attach_stdin: bool,
}

impl FromBody for RunCommand {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            command: fields.required("command", "a string"),
            args: fields
                .optional("args", "a list of strings")
                .unwrap_or_default(),
            env: fields
                .optional("env", "an object of strings")
                .unwrap_or_default(),
            cwd: fields.text("cwd"),
            sudo: fields.boolean("sudo").unwrap_or_default(),
            timeout: fields.integer("timeout"),
            wait: fields.boolean("wait").unwrap_or_default(),
            logs: fields.boolean("logs").unwrap_or_default(),
            attach_stdin: fields.boolean("attachStdin").unwrap_or_default(),
        }
    }
}

/// `POST …/kill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillCommand {
    /// By its number; none is a polite end.
    pub signal: Option<i64>,
}

impl FromBody for KillCommand {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            signal: fields.integer("signal"),
        }
    }
}

/// `POST …/stdin`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedCommand {
    /// In base64.
    pub data: Option<String>,
    /// How many bytes went before.
    pub offset: Option<i64>,
    /// Nothing comes after it.
    pub close: bool,
}

impl FromBody for FeedCommand {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            data: fields.text("data"),
            offset: fields.integer("offset"),
            close: fields.boolean("close").unwrap_or_default(),
        }
    }
}
