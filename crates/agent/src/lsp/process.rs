//! A running server: its start, its standard error, its end.
//!
//! One task reads, writes and waits for the exit. When it ends, whatever the reason, all that the server started is
//! gone and all who waited for an answer know why there is none.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::agent::Agent;
use crate::lsp::link::{Link, Outbox};
use crate::lsp::{Language, LspError, place};
use crate::process::job::Members;
use crate::process::reaper::Child;
use crate::process::spawn::{EnvBlock, Program, c_path, find_program};
use crate::sys::ExitStatus;

/// From the request to shut down to the kill.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What a server may take to exit by itself once it has closed its input or output.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// What is kept of the last that it said on standard error.
const STDERR_TAIL_BYTES: usize = 2 << 10;

/// A server's process. Dropping it ends it, with all that it started.
#[derive(Debug)]
pub struct Process {
    pub link: Arc<Link>,
    /// Becomes true when the process must go.
    release: watch::Sender<bool>,
    /// Becomes true when it and all that it started is gone.
    is_gone: watch::Receiver<bool>,
}

impl Process {
    /// Starts the program of the language in the project's folder. It has not been spoken to yet.
    ///
    /// # Errors
    /// The program is missing or does not start.
    pub fn start(agent: &Agent, language: Language, project: &Path) -> Result<Self, LspError> {
        let failed = |error: &dyn std::fmt::Display| LspError::Start(error.to_string());
        let path = find_program(language.program(), &agent.home.search_path())
            .ok_or(LspError::NotInstalled(language.program()))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(&error));
        let (input, our_input) = pipe()?;
        let (our_output, output) = pipe()?;
        let (our_errors, errors) = pipe()?;
        let receiver = |fd| pipe::Receiver::from_owned_fd(fd).map_err(|error| failed(&error));
        let streams = Streams {
            input: pipe::Sender::from_owned_fd(our_input).map_err(|error| failed(&error))?,
            output: receiver(our_output)?,
            errors: receiver(our_errors)?,
        };
        let child = agent
            .children
            .spawn(&Program {
                path: c_path(&path).map_err(|error| failed(&error))?,
                argv: language.argv(),
                env: &agent.home.env,
                extra_env: EnvBlock::default(),
                cwd: c_path(project).map_err(|error| failed(&error))?,
                stdin: input.as_fd(),
                stdout: output.as_fd(),
                stderr: errors.as_fd(),
                passed: &[],
                is_terminal: false,
                tag: agent.tags.next(),
            })
            .map_err(|failure| failed(&format_args!("{}: {}", path.display(), failure.error)))?;
        let name = project.file_name().unwrap_or(project.as_os_str());
        let name = name.to_string_lossy().into_owned();
        let (link, outbox) = Link::new(place::uri_of(project), name);
        let (release, released) = watch::channel(false);
        let (gone, is_gone) = watch::channel(false);
        tokio::spawn(watch_over(
            child,
            streams,
            link.clone(),
            outbox,
            released,
            gone,
        ));
        Ok(Self {
            link,
            release,
            is_gone,
        })
    }

    /// Asks the server to end, and ends it if it does not in time.
    pub async fn stop(&self) {
        let deadline = Instant::now() + STOP_GRACE;
        let asked = async {
            // A refusal does not change what comes next.
            let _ = self.link.request::<Value>("shutdown", &Value::Null).await;
            if let Ok(place) = self.link.place().await {
                place.notify("exit", &Value::Null);
            }
            self.gone().await;
        };
        if timeout_at(deadline, asked).await.is_err() {
            self.release.send_replace(true);
            self.gone().await;
        }
    }

    async fn gone(&self) {
        // The other end goes away only when the process has.
        let _ = self.is_gone.clone().wait_for(|is_gone| *is_gone).await;
    }
}

struct Streams {
    input: pipe::Sender,
    output: pipe::Receiver,
    errors: pipe::Receiver,
}

async fn watch_over(
    mut child: Child,
    streams: Streams,
    link: Arc<Link>,
    outbox: Outbox,
    mut released: watch::Receiver<bool>,
    gone: watch::Sender<bool>,
) {
    let mut errors_tail = StderrTail::default();
    let members = Members::of(child.tag, child.pid);
    let reason = {
        let reading = link.read(streams.output);
        let writing = outbox.write(streams.input);
        let listening = errors_tail.listen(streams.errors);
        tokio::pin!(reading, writing, listening);
        let mut is_listening = true;
        // Becomes the reason if it is not the exit itself that ends the server.
        let complaint = loop {
            tokio::select! {
                read = &mut reading => break Ok(read.err()),
                status = child.exited() => break Err(status),
                _ = &mut writing => break Ok(None),
                () = &mut listening, if is_listening => is_listening = false,
                _ = released.wait_for(|released| *released) => break Ok(Some("it was stopped".to_owned())),
            }
        };
        let reason = match complaint {
            Err(status) => {
                // What was said before the exit counts; a child may hold the pipe open.
                let _ = timeout(EXIT_GRACE, reading).await;
                describe(status)
            }
            Ok(Some(complaint)) => complaint,
            Ok(None) => match timeout(EXIT_GRACE, child.exited()).await {
                Ok(status) => describe(status),
                Err(_) => "it closed its input or output".to_owned(),
            },
        };
        members.kill().await;
        if is_listening {
            // All who could write are gone, so that this is short; the limit is for those who left the job.
            let _ = timeout(EXIT_GRACE, listening).await;
        }
        reason
    };
    link.end(format!("{reason}{errors_tail}"));
    gone.send_replace(true);
}

fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("it exited with {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal} ended it"),
    }
}

/// The end of what a server said on standard error.
#[derive(Debug, Default)]
struct StderrTail(VecDeque<u8>);

impl StderrTail {
    async fn listen(&mut self, mut errors: pipe::Receiver) {
        let mut buffer = [0; STDERR_TAIL_BYTES];
        while let Ok(count) = errors.read(&mut buffer).await
            && count > 0
        {
            self.push(&buffer[..count]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let surplus = self.0.len().saturating_sub(STDERR_TAIL_BYTES);
        self.0.drain(..surplus);
    }
}

impl std::fmt::Display for StderrTail {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        match String::from_utf8_lossy(&bytes).trim() {
            "" => Ok(()),
            words => write!(out, "; its standard error ends with: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let mut words = StderrTail::default();
        assert_eq!(words.to_string(), "");
        words.push(&[b'x'; STDERR_TAIL_BYTES]);
        words.push(b"the end\n");
        assert_eq!(words.0.len(), STDERR_TAIL_BYTES);
        assert!(words.to_string().ends_with("xxthe end"));
    }
}
