//! Programs run as they are named: no shell, the two outputs apart, a log that can be read again, an end by signal.
//!
//! What is said about one goes out as lines of JSON, in the words of the clients that ask for it, so that whoever stands
//! in between passes bytes on. The first line of a followed program and the last one are its [`ExecAnswer`]; between them
//! stand [`ExecOutput`] lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Stream;

/// Where programs are run and listed; one of them is below, by its id.
pub const EXEC_PATH: &str = "/exec";
/// Where a program gets a terminal, and one client a WebSocket to it.
///
/// The client's first message is `{"type":"start","command","args":[],"env":["NAME=VALUE"],"cwd","cols","rows"}`. Then
/// what it types is binary, and `{"type":"resize","cols","rows"}` is text. What the terminal shows is binary,
/// `{"type":"exit","code"}` is text and comes before the close, and any other text is for whoever reads along.
pub const EXEC_INTERACTIVE_PATH: &str = "/exec/interactive";
/// What a stream of lines says it is; clients compare it byte by byte.
pub const EXEC_STREAM_TYPE: &str = "application/x-ndjson";

/// What is to run.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the body of a request, in its own words"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// A path, or a name that is looked for on `PATH`.
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    /// Win over the sandbox's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Relative ones start at the work dir, which is also what an empty one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// As root, with root's home.
    #[serde(default)]
    pub sudo: bool,
    /// Milliseconds until it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// The answer is a stream that ends with the program.
    #[serde(default)]
    pub wait: bool,
    /// What it says is in that stream.
    #[serde(default)]
    pub logs: bool,
    /// It reads what is sent to it ([`ExecFed`]); else its input is empty.
    #[serde(default)]
    pub attach_stdin: bool,
    /// How the caller names this run of the sandbox; told again with the command.
    #[serde(default)]
    pub session_id: String,
}

/// A program that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecCommand {
    pub id: String,
    pub name: String,
    pub args: Vec<String>,
    pub cwd: String,
    pub session_id: String,
    /// The same, as older clients call it.
    pub sandbox_id: String,
    /// None while it runs. One that died by a signal has 128 and its number.
    pub exit_code: Option<i32>,
    /// Milliseconds of the Unix epoch.
    pub started_at: i64,
    /// None while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecAnswer {
    pub command: ExecCommand,
}

/// All that are remembered, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecList {
    pub commands: Vec<ExecCommand>,
}

/// What a program said, or why no more of it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stream", content = "data", rename_all = "lowercase")]
pub enum ExecOutput {
    Stdout(String),
    Stderr(String),
    Error(ExecStreamError),
}

impl ExecOutput {
    /// The start of a line of output; its text and [`ExecOutput::LINE_END`] follow.
    pub const fn line_start(stream: Stream) -> &'static str {
        match stream {
            Stream::Stdout => r#"{"stream":"stdout","data":""#,
            Stream::Stderr => r#"{"stream":"stderr","data":""#,
        }
    }

    pub const LINE_END: &'static str = "\"}\n";
}

/// Why a stream breaks off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStreamError {
    pub code: String,
    pub message: String,
}

/// Which signal a program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecKill {
    /// By its number; SIGTERM where none is named.
    #[serde(default = "sigterm")]
    pub signal: i32,
}

/// How far the input of a program has come, as `POST /exec/{execId}/stdin` answers.
///
/// Its body is the next piece. `offset` in the query says how many bytes went before it, so that what was written already
/// is left out; `close=true`, that nothing comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecFed {
    pub command: ExecCommand,
    /// Since it was started.
    pub bytes_written: u64,
    /// The program did not read all of the piece in time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stuck: bool,
}

const fn sigterm() -> i32 {
    15
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn lines_are_written_as_clients_read_them() {
        let error = ExecOutput::Error(ExecStreamError {
            code: "c".to_owned(),
            message: "m".to_owned(),
        });
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"stream":"error","data":{"code":"c","message":"m"}}"#
        );
        for (stream, made) in [
            (Stream::Stdout, ExecOutput::Stdout("hi".to_owned())),
            (Stream::Stderr, ExecOutput::Stderr("hi".to_owned())),
        ] {
            let line = format!(
                "{}hi{}",
                ExecOutput::line_start(stream),
                ExecOutput::LINE_END
            );
            assert_eq!(line.trim_end(), serde_json::to_string(&made).unwrap());
        }
    }

    #[test]
    fn a_running_program_has_a_null_for_its_exit_code_and_no_duration() {
        let command = ExecCommand {
            id: "cmd_1".to_owned(),
            name: "true".to_owned(),
            args: Vec::new(),
            cwd: "/".to_owned(),
            session_id: "s".to_owned(),
            sandbox_id: "s".to_owned(),
            exit_code: None,
            started_at: 5,
            duration_ms: None,
        };
        assert_eq!(
            serde_json::to_string(&command).unwrap(),
            r#"{"id":"cmd_1","name":"true","args":[],"cwd":"/","sessionId":"s","sandboxId":"s","exitCode":null,"startedAt":5}"#
        );
    }

    #[test]
    fn a_kill_without_a_signal_is_a_polite_one() {
        let kill: ExecKill = serde_json::from_str("{}").unwrap();
        assert_eq!(kill.signal, 15);
    }
}
