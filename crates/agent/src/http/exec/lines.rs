//! A program's life as lines of JSON: it began, what it says, it is over.
//!
//! The reader has a place of its own in the log and goes on at its client's pace. A character that the edge of a piece
//! cuts waits for its rest, for each output by itself.

use std::convert::Infallible;
use std::sync::Arc;

use alcove_agent_api::{EXEC_STREAM_TYPE, ExecAnswer, ExecOutput, ExecStreamError, Stream};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::watch;

use crate::agent::Agent;
use crate::exec::Exec;
use crate::http::sessions::logs::read;
use crate::session::command::CommandState;
use crate::session::log::{LogReader, Record};
use crate::text::JsonText;

/// What of it is told.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its beginning and its end.
    pub has_command: bool,
    pub has_output: bool,
}

pub fn answer(agent: Arc<Agent>, exec: Arc<Exec>, form: Form) -> Response {
    let lines = Lines {
        grown: exec.command.log.watch(),
        state: exec.command.watch(),
        reader: Some(LogReader::follow(exec.command.log.clone())),
        texts: [JsonText::default(), JsonText::default()],
        agent,
        exec,
        form,
        is_begun: false,
    };
    let pieces = stream::unfold(Some(lines), |lines| async move {
        let mut lines = lines?;
        let mut out = Vec::new();
        let goes_on = lines.next(&mut out).await;
        Some((
            Ok::<_, Infallible>(Bytes::from(out)),
            goes_on.then_some(lines),
        ))
    });
    let kind = HeaderValue::from_static(EXEC_STREAM_TYPE);
    ([(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

struct Lines {
    agent: Arc<Agent>,
    exec: Arc<Exec>,
    form: Form,
    is_begun: bool,
    reader: Option<LogReader>,
    grown: watch::Receiver<u64>,
    state: watch::Receiver<CommandState>,
    texts: [JsonText; 2],
}

impl Lines {
    /// Writes the next lines as soon as there are any; whether more may come.
    async fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) && self.form.has_command {
            let mut command = self.exec.describe();
            // It may be over by now; the end is for the last line to tell.
            (command.exit_code, command.duration_ms) = (None, None);
            line(out, &ExecAnswer { command });
            return true;
        }
        loop {
            // What was said before the end is read after the end was seen.
            let is_over = self.state.borrow_and_update().is_over();
            self.grown.borrow_and_update();
            if self.form.has_output {
                match self.read().await {
                    Ok(records) if records.is_empty() => {}
                    Ok(records) => {
                        for record in &records {
                            self.write(record, out);
                        }
                        if !out.is_empty() {
                            return true;
                        }
                        continue;
                    }
                    Err(()) => {
                        broken(out, "the log of the command cannot be read");
                        return false;
                    }
                }
            }
            if is_over {
                self.finish(out);
                return false;
            }
            tokio::select! {
                _ = self.state.changed() => {}
                _ = self.grown.changed(), if self.form.has_output => {}
                () = self.agent.stopping() => {
                    broken(out, "the sandbox stops");
                    return false;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<Record>, ()> {
        let reader = self.reader.take().ok_or(())?;
        let (records, reader) = read(reader).await.map_err(drop)?;
        self.reader = Some(reader);
        Ok(records)
    }

    fn write(&mut self, record: &Record, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(ExecOutput::line_start(record.stream).as_bytes());
        let empty = out.len();
        self.texts[at(record.stream)].push(&record.bytes, out);
        // Nothing but the first bytes of a character.
        if out.len() == empty {
            out.truncate(start);
        } else {
            out.extend_from_slice(ExecOutput::LINE_END.as_bytes());
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut rest = Vec::new();
            self.texts[at(stream)].finish(&mut rest);
            if !rest.is_empty() {
                out.extend_from_slice(ExecOutput::line_start(stream).as_bytes());
                out.append(&mut rest);
                out.extend_from_slice(ExecOutput::LINE_END.as_bytes());
            }
        }
        if self.form.has_command {
            let command = self.exec.describe();
            line(out, &ExecAnswer { command });
        }
    }
}

fn at(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn broken(out: &mut Vec<u8>, message: &str) {
    line(
        out,
        &ExecOutput::Error(ExecStreamError {
            code: "sandbox_stream_closed".to_owned(),
            message: message.to_owned(),
        }),
    );
}

fn line<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    // Plain data always serialises.
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}
