//! What a program reads, sent to it in pieces.
//!
//! Whoever sends says how many bytes went before. So the same piece can be sent again when its answer was lost, and none
//! reaches the program twice.

use std::os::fd::OwnedFd;
use std::time::Duration;

use alcove_agent_api::ErrorCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// How long a piece waits for a program that does not read. Clients ask again as long as it goes on.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("the command has no input, or reads it no more")]
    Unavailable,
    #[error("offset {offset} is beyond the {written} bytes that were written")]
    Beyond { offset: u64, written: u64 },
}

impl InputError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable => ErrorCode::CommandStdinUnavailable,
            Self::Beyond { .. } => ErrorCode::BadRequest,
        }
    }
}

/// How far the input has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Since the program was started.
    pub written: u64,
    /// Whether the program did not read all of it in time.
    pub is_stuck: bool,
}

/// The input of one program.
#[derive(Debug)]
pub struct Input(Mutex<Feed>);

#[derive(Debug)]
struct Feed {
    /// None once it is closed, by either side.
    pipe: Option<pipe::Sender>,
    written: u64,
}

impl Input {
    pub fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        let pipe = Some(pipe::Sender::from_owned_fd(pipe)?);
        Ok(Self(Mutex::new(Feed { pipe, written: 0 })))
    }

    /// Writes what comes after `offset` bytes, or after all that was written where there is none, and then closes the input
    /// if `closes`. Dropping the future leaves what was written, and counts it.
    pub async fn feed(
        &self,
        data: &[u8],
        offset: Option<u64>,
        closes: bool,
    ) -> Result<Fed, InputError> {
        let deadline = Instant::now() + PATIENCE;
        let mut feed = self.0.lock().await;
        let Feed { pipe, written } = &mut *feed;
        let Some(sender) = pipe.as_mut() else {
            return Err(InputError::Unavailable);
        };
        let offset = offset.unwrap_or(*written);
        if offset > *written {
            let written = *written;
            return Err(InputError::Beyond { offset, written });
        }
        let known = usize::try_from(*written - offset).unwrap_or(usize::MAX);
        let mut rest = data.get(known..).unwrap_or_default();
        while !rest.is_empty() {
            match timeout_at(deadline, sender.write(rest)).await {
                Ok(Ok(count)) => {
                    *written += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                // Nobody has the other end any more.
                Ok(Err(_)) => {
                    *pipe = None;
                    return Err(InputError::Unavailable);
                }
                Err(_) => {
                    return Ok(Fed {
                        written: *written,
                        is_stuck: true,
                    });
                }
            }
        }
        if closes {
            *pipe = None;
        }
        Ok(Fed {
            written: *written,
            is_stuck: false,
        })
    }

    /// Takes no more.
    pub async fn end(&self) {
        self.0.lock().await.pipe = None;
    }
}
