//! One command of a session, as callers see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::session::log::Log;

/// Pieces of input that wait for a command that does not read.
pub(super) const INPUT_QUEUE: usize = 64;

/// How long a caller waits for room among them.
const INPUT_PATIENCE: Duration = Duration::from_secs(5);

/// Where a command is. Goes only downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandState {
    /// Other commands of the session come first.
    Queued,
    Running,
    /// All output up to the exit is in the log.
    Finished(i32),
    /// Its shell ended before its turn came, or the session was deleted.
    Abandoned,
}

impl CommandState {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished(_) | Self::Abandoned)
    }

    /// What clients read as exit code: pollers must see that an abandoned command is over.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Queued | Self::Running => None,
            Self::Finished(code) => Some(code),
            Self::Abandoned => Some(-1),
        }
    }
}

/// Whether the caller waits for the end, and what of its input the log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Standard input is at its end from the start.
    Sync,
    /// Standard input stays open for input calls.
    Async { has_echo: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("command has already completed")]
    Completed,
    #[error("command does not take input")]
    NotAsync,
    #[error("command does not read its input")]
    NotReading,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    pub id: String,
    pub text: String,
    pub mode: Mode,
    pub log: Arc<Log>,
    state: watch::Sender<CommandState>,
    input: Option<mpsc::Sender<Bytes>>,
}

impl Command {
    /// The command, and the other end of its input.
    pub fn new(
        id: String,
        text: String,
        mode: Mode,
        log: Arc<Log>,
    ) -> (Arc<Self>, Option<mpsc::Receiver<Bytes>>) {
        let (input, receiver) = match mode {
            Mode::Sync => (None, None),
            Mode::Async { .. } => {
                let (sender, receiver) = mpsc::channel(INPUT_QUEUE);
                (Some(sender), Some(receiver))
            }
        };
        let state = watch::Sender::new(CommandState::Queued);
        (
            Arc::new(Self {
                id,
                text,
                mode,
                log,
                state,
                input,
            }),
            receiver,
        )
    }

    pub fn state(&self) -> CommandState {
        *self.state.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<CommandState> {
        self.state.subscribe()
    }

    /// Waits until the command is over.
    pub async fn over(&self) -> CommandState {
        let mut state = self.watch();
        // The sender lives in `self`.
        state
            .wait_for(|state| state.is_over())
            .await
            .map_or(CommandState::Abandoned, |state| *state)
    }

    /// Moves on. What is over stays as it is.
    pub fn set_state(&self, next: CommandState) {
        self.state.send_if_modified(|state| {
            let may = !state.is_over();
            if may {
                *state = next;
            }
            may
        });
    }

    /// Queues input for the command; a line without its end gets one.
    ///
    /// # Errors
    /// The command is over, takes no input, or has not read what is queued for too long.
    pub async fn send_input(&self, data: &str) -> Result<(), InputError> {
        if self.state().is_over() {
            return Err(InputError::Completed);
        }
        let input = self.input.as_ref().ok_or(InputError::NotAsync)?;
        let mut line = data.to_owned();
        if !line.ends_with('\n') {
            line.push('\n');
        }
        match timeout(INPUT_PATIENCE, input.send(line.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(InputError::Completed),
            Err(_) => Err(InputError::NotReading),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_as_it_is() {
        let all = [
            CommandState::Queued,
            CommandState::Running,
            CommandState::Finished(3),
            CommandState::Abandoned,
        ];
        for before in all {
            for next in all {
                let log = Log::new("/nonexistent/log".into(), 1);
                let (command, _) = Command::new("id".into(), "true".into(), Mode::Sync, log);
                command.set_state(before);
                command.set_state(next);
                let wanted = if before.is_over() { before } else { next };
                assert_eq!(command.state(), wanted, "{before:?} to {next:?}");
            }
        }
    }
}
