//! The agent's own words to whoever runs it, on standard error.
//!
//! A line at a time, without a subscriber: the agent says little, and a logging framework would be a good part
//! of its memory. Nothing here may fail or panic; the other end may be gone.

use std::fmt::Arguments;
use std::io::Write;

/// Something a person may want to know.
pub fn warn(message: Arguments<'_>) {
    line("warn", message);
}

/// Something that a person should look at.
pub fn error(message: Arguments<'_>) {
    line("error", message);
}

fn line(level: &str, message: Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("alcove-agent: {level}: {message}\n").as_bytes());
}
