//! Much session output, followed live.

use std::io::Write as _;
use std::time::Instant;

use alcove_agent_api::{STDOUT_MARKER, SessionExecRequest};
use alcove_client::SocketMessage;
use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::super::table::bytes_in_mib;
use super::subject::{Growth, Subject};

const SESSION: &str = "alcove-bench-follow";

/// What a line holds after its number.
const PAYLOAD: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// The close code of a stream that has said everything.
const NORMAL: u16 = 1000;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Follow {
    pub bytes: u64,
    pub mib_per_second: f64,
    pub growth: Growth,
}

/// Every line is numbered and compared: one that is lost, doubled or moved is an error.
pub async fn measure(subject: &Subject, bytes: u64) -> anyhow::Result<Follow> {
    let toolbox = &subject.toolbox;
    toolbox.create_session(SESSION).await?;
    let lines = bytes.div_ceil(Lines::nth(1).len() as u64);
    let request = SessionExecRequest {
        command: format!("yes {PAYLOAD} | head -n {lines} | cat -n"),
        run_async: Some(true),
        ..SessionExecRequest::default()
    };
    let watch = subject.watch_growth()?;
    let began = Instant::now();
    let command = toolbox.session_execute(SESSION, &request).await?.cmd_id;
    let mut socket = toolbox.follow_logs(SESSION, &command).await?;
    let mut seen = Lines::default();
    loop {
        match socket.next().await.context("the stream broke off")? {
            SocketMessage::Binary(piece) => seen.take(&piece)?,
            SocketMessage::Text(text) => bail!("the stream has a text message: {text:?}"),
            SocketMessage::Closed {
                code: Some(NORMAL), ..
            } => break,
            SocketMessage::Closed { code, reason } => {
                bail!("the stream ended with {code:?} {reason:?}")
            }
        }
    }
    let elapsed = began.elapsed();
    let growth = watch.end()?;
    ensure!(
        seen.whole() == lines,
        "{} of {lines} lines came",
        seen.whole()
    );
    toolbox.delete_session(SESSION).await?;
    Ok(Follow {
        bytes: seen.bytes,
        mib_per_second: bytes_in_mib(seen.bytes) / elapsed.as_secs_f64(),
        growth,
    })
}

/// What should come, compared with what does.
#[derive(Debug, Default)]
struct Lines {
    /// The number of the line that is being compared, and of what of it has not come yet.
    number: u64,
    expected: Vec<u8>,
    at: usize,
    /// Without markers.
    bytes: u64,
}

impl Lines {
    /// A line as `cat -n` writes it.
    fn nth(number: u64) -> String {
        format!("{number:>6}\t{PAYLOAD}\n")
    }

    fn take(&mut self, mut piece: &[u8]) -> anyhow::Result<()> {
        while !piece.is_empty() {
            if self.at == self.expected.len() {
                self.number += 1;
                self.at = 0;
                self.expected.clear();
                self.expected.extend_from_slice(&STDOUT_MARKER);
                writeln!(self.expected, "{:>6}\t{PAYLOAD}", self.number)?;
                self.bytes += (self.expected.len() - STDOUT_MARKER.len()) as u64;
            }
            let length = piece.len().min(self.expected.len() - self.at);
            let (came, rest) = piece.split_at(length);
            ensure!(
                came == &self.expected[self.at..self.at + length],
                "line {} came as {:?}",
                self.number,
                String::from_utf8_lossy(came)
            );
            self.at += length;
            piece = rest;
        }
        Ok(())
    }

    /// Lines that came whole.
    fn whole(&self) -> u64 {
        if self.at == self.expected.len() {
            self.number
        } else {
            self.number.saturating_sub(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let line = |number| [&STDOUT_MARKER, Lines::nth(number).as_bytes()].concat();
        numbers.into_iter().flat_map(line).collect()
    }

    #[test]
    fn lines_in_order_pass_wherever_they_are_cut() {
        let all = stream(1..=30);
        for size in [1, 2, 3, 7, 100, all.len()] {
            let mut lines = Lines::default();
            for piece in all.chunks(size) {
                assert!(lines.take(piece).is_ok());
            }
            assert_eq!(lines.whole(), 30);
            assert_eq!(lines.bytes, (all.len() - 90) as u64);
        }
    }

    #[test]
    fn a_line_that_is_lost_doubled_moved_or_broken_is_noticed() {
        for numbers in [vec![1, 3], vec![1, 1], vec![2, 1]] {
            assert!(Lines::default().take(&stream(numbers.clone())).is_err());
        }
        let mut all = stream(1..=3);
        assert!(Lines::default().take(&all[1..]).is_err());
        all.pop();
        let mut lines = Lines::default();
        assert!(lines.take(&all).is_ok());
        assert_eq!(lines.whole(), 2);
    }
}
