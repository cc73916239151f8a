//! The task that owns a session's shell.
//!
//! ```text
//!        exec                 line to the shell            "number status"
//!   ──> queue ──> Queued ──────────────────────> Running ──────────────────> Finished
//!                   │                               │
//!                   │ shell gone or deleted         │ shell exits: its own status
//!                   v                               v
//!               Abandoned                        Finished
//! ```
//!
//! Only the driver starts commands and learns how they ended. The shell is given one line at a time, so that
//! nothing waits in its input when it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode as FileMode, mknodat};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

use crate::process::reaper::Child;
use crate::session::command::{Command, CommandState, Mode};
use crate::session::folder::make_private;
use crate::session::pump::{self, Pipes};

/// A command that waits for its turn.
#[derive(Debug)]
pub struct Job {
    pub command: Arc<Command>,
    pub input: Option<mpsc::Receiver<Bytes>>,
}

/// A session's shell with all that leads to it.
#[derive(Debug)]
pub struct Shell {
    pub child: Child,
    pub stdin: pipe::Sender,
    /// Of builtins, so that nothing of the user's is called in their place.
    pub builtin_prefix: &'static str,
    pub control: Control,
    /// The session's own, for named pipes.
    pub folder: PathBuf,
}

/// The named pipe by which the shell tells how commands ended.
#[derive(Debug)]
pub struct Control {
    lines: Lines<BufReader<pipe::Receiver>>,
}

impl Control {
    /// # Errors
    /// The pipe cannot be made.
    pub fn make(folder: &Path) -> io::Result<Self> {
        let path = folder.join("ctl");
        make_pipe(&path)?;
        // For both directions: the end of the pipe is never reached between two lines.
        let receiver = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&path)?;
        let lines = BufReader::with_capacity(512, receiver).lines();
        Ok(Self { lines })
    }

    /// The next report. Anything may write here; what is no report is passed over.
    async fn next_report(&mut self) -> (u64, i32) {
        loop {
            match self.lines.next_line().await {
                Ok(Some(line)) => {
                    if let Some(report) = parse_report(&line) {
                        return report;
                    }
                }
                // The text was no UTF-8.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                // Cannot happen to a pipe that we hold both ends of; the shell's exit is still seen.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }
}

fn parse_report(line: &str) -> Option<(u64, i32)> {
    let (number, status) = line.split_once(' ')?;
    Some((number.parse().ok()?, status.parse().ok()?))
}

/// The command that the shell is busy with.
struct Current {
    number: u64,
    done: oneshot::Sender<i32>,
    folder: PathBuf,
}

impl Current {
    fn finish(self, code: i32) {
        // The pump outlives this command only if the agent does not.
        let _ = self.done.send(code);
        let _ = std::fs::remove_dir_all(self.folder);
    }
}

/// Drives the shell until it exits. `is_alive` becomes false then.
pub async fn drive(
    mut shell: Shell,
    mut queue: mpsc::Receiver<Job>,
    is_alive: watch::Sender<bool>,
) {
    let mut current: Option<Current> = None;
    let mut next_number = 0;
    let status = loop {
        tokio::select! {
            // A report and an exit may come together; the report was first.
            biased;
            (number, code) = shell.control.next_report() => {
                if let Some(ended) = current.take_if(|current| current.number == number) {
                    ended.finish(code);
                }
            }
            status = shell.child.exited() => break status,
            Some(job) = queue.recv(), if current.is_none() => {
                next_number += 1;
                current = start(&mut shell, next_number, job).await;
            }
        }
    };
    is_alive.send_replace(false);
    if let Some(ended) = current {
        ended.finish(status.shell_code());
    }
    queue.close();
    while let Some(job) = queue.recv().await {
        job.command.set_state(CommandState::Abandoned);
    }
}

/// Hands a command to the shell. One that cannot be prepared is over, with the reason in its log.
async fn start(shell: &mut Shell, number: u64, job: Job) -> Option<Current> {
    let Job { command, input } = job;
    let folder = shell.folder.join(number.to_string());
    let pipes = match prepare(&folder, &command) {
        Ok(pipes) => pipes,
        Err(error) => {
            let text = format!("cannot start the command: {error}\n");
            command
                .log
                .append(alcove_agent_api::Stream::Stderr, text.as_bytes());
            command.log.rest();
            command.set_state(CommandState::Finished(-1));
            let _ = std::fs::remove_dir_all(folder);
            return None;
        }
    };
    let line = command_line(&folder, number, command.mode, shell.builtin_prefix);
    let (done, is_done) = oneshot::channel();
    command.set_state(CommandState::Running);
    tokio::spawn(pump::run(command, pipes, input, is_done));
    // A shell that is gone refuses; its exit is next.
    let _ = shell.stdin.write_all(line.as_bytes()).await;
    Some(Current {
        number,
        done,
        folder,
    })
}

fn prepare(folder: &Path, command: &Command) -> io::Result<Pipes> {
    make_private(folder)?;
    std::fs::write(folder.join("cmd"), &command.text)?;
    let (stdout, stderr) = (folder.join("out"), folder.join("err"));
    make_pipe(&stdout)?;
    make_pipe(&stderr)?;
    let stdin = folder.join("in");
    let stdin = match command.mode {
        Mode::Sync => None,
        Mode::Async { .. } => {
            make_pipe(&stdin)?;
            Some(stdin.as_path())
        }
    };
    Pipes::open(&stdout, &stderr, stdin)
}

fn make_pipe(path: &Path) -> io::Result<()> {
    let mode = FileMode::RUSR | FileMode::WUSR;
    Ok(mknodat(CWD, path, FileType::Fifo, mode, 0)?)
}

/// What the shell reads: the command's file sourced in the shell itself, then the report.
fn command_line(folder: &Path, number: u64, mode: Mode, builtin_prefix: &str) -> String {
    // The path is ours and holds nothing that a shell would read as more than a path.
    let folder = folder.display();
    let stdin = match mode {
        Mode::Sync => "/dev/null".to_owned(),
        Mode::Async { .. } => format!("{folder}/in"),
    };
    format!(
        "{{ . '{folder}/cmd'; }} <'{stdin}' >'{folder}/out' 2>'{folder}/err'; \
         {builtin_prefix} printf '%s %s\\n' {number} \"$?\" >'{folder}/../ctl'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_the_shell_holds_nothing_of_the_request() {
        let line = command_line(Path::new("/run/1/7"), 7, Mode::Sync, "\\builtin");
        assert_eq!(
            line,
            "{ . '/run/1/7/cmd'; } <'/dev/null' >'/run/1/7/out' 2>'/run/1/7/err'; \
             \\builtin printf '%s %s\\n' 7 \"$?\" >'/run/1/7/../ctl'\n"
        );
    }

    #[test]
    fn what_is_no_report_is_passed_over() {
        assert_eq!(parse_report("12 0"), Some((12, 0)));
        for line in ["", "12", "x 0", "12 x", "12 0 1", " 12 0"] {
            assert_eq!(parse_report(line), None, "{line:?}");
        }
    }
}
