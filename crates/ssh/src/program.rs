//! A program in the sandbox at one end of a channel.

use std::sync::Arc;

use alcove_agent_api::{
    RUN_PATH, RUN_PIECE_BYTES, RUN_PROTOCOL, RUN_WINDOW_BYTES, RunEnd, RunOrder, RunRequest,
    RunSaid,
};
use alcove_control::Control;
use alcove_domain::SandboxId;
use russh::Sig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};

use crate::agent::{AgentError, connect};
use crate::channel::{Gone, Outlet};
use crate::inbox::{Inbox, Item};

/// One read from the agent.
const READ_BYTES: usize = 32 << 10;
/// The exit code of `ssh` itself where it fails.
const FAILED: u32 = 255;
/// The exit code that shells have for a program that is not there.
const NOT_STARTED: u32 = 127;

/// What is to run where, and for whom.
pub struct Program {
    pub control: Control,
    pub sandbox: SandboxId,
    pub command: Option<Vec<u8>>,
    pub request: RunRequest,
    pub inbox: Arc<Inbox>,
    pub outlet: Outlet,
}

impl Program {
    /// Runs the program to its end, or until the client closes the channel, which hangs up on it.
    pub async fn run(self) {
        let ran = tokio::select! {
            ran = self.attend() => ran,
            () = self.inbox.closed() => return,
        };
        if let Err(Failure::Agent(error)) = ran {
            let text = format!("alcove: {error}\r\n");
            let _ = self.outlet.errors(text.as_bytes()).await;
            let _ = self.outlet.exit_code(FAILED).await;
        }
        let _ = self.outlet.end().await;
        let _ = self.outlet.close().await;
    }

    async fn attend(&self) -> Result<(), Failure> {
        let agent = connect(&self.control, &self.sandbox, RUN_PATH, RUN_PROTOCOL).await?;
        let (reader, mut writer) = split(agent);
        let mut first = Vec::new();
        if let Some(command) = &self.command {
            RunOrder::Command(command.clone()).encode(&mut first);
        }
        RunOrder::Start(self.request.clone()).encode(&mut first);
        writer.write_all(&first).await.map_err(AgentError::Lost)?;
        self.inbox.add_credit(RUN_WINDOW_BYTES);
        let end = tokio::select! {
            end = self.tell(reader) => end?,
            // One that takes no more has ended, and what it said last is still to be read.
            () = async { self.pass_on(&mut writer).await; std::future::pending().await } => return Ok(()),
        };
        match end {
            RunEnd::Code(code) => self.outlet.exit_code(code.cast_unsigned()).await?,
            RunEnd::Signal(number) => self.outlet.exit_signal(signal(number)).await?,
            RunEnd::NotStarted(reason) => {
                let text = format!("alcove: {reason}\r\n");
                self.outlet.errors(text.as_bytes()).await?;
                self.outlet.exit_code(NOT_STARTED).await?;
            }
        }
        Ok(())
    }

    /// Tells the client what the program says, at the client's pace.
    async fn tell(&self, mut agent: impl AsyncRead + Unpin) -> Result<RunEnd, Failure> {
        let mut bytes = Vec::new();
        loop {
            match RunSaid::take(&mut bytes) {
                Ok(Some(RunSaid::Output(said))) => self.outlet.output(&said).await?,
                Ok(Some(RunSaid::Errors(said))) => self.outlet.errors(&said).await?,
                Ok(Some(RunSaid::Taken(count))) => {
                    self.inbox
                        .add_credit(usize::try_from(count).unwrap_or_default());
                }
                Ok(Some(RunSaid::End(end))) => return Ok(end),
                Ok(None) => {
                    bytes.reserve(READ_BYTES);
                    let read = agent.read_buf(&mut bytes).await;
                    if read.map_err(AgentError::Lost)? == 0 {
                        let ended = std::io::ErrorKind::UnexpectedEof.into();
                        return Err(AgentError::Lost(ended).into());
                    }
                }
                Err(_) => return Err(AgentError::NoAnswer.into()),
            }
        }
    }

    /// Passes on what the client says. Returns only where the agent takes no more.
    async fn pass_on(&self, agent: &mut (impl AsyncWrite + Unpin)) {
        let mut piece = Vec::new();
        loop {
            let order = match self.inbox.next(RUN_PIECE_BYTES).await {
                Item::Data(data) => RunOrder::Input(data.into()),
                Item::End => RunOrder::InputEnd,
                Item::Resize(size) => RunOrder::Resize(size),
                Item::Signal(name) => RunOrder::Signal(name),
                // Whoever runs us waits for that too.
                Item::Closed => std::future::pending().await,
            };
            piece.clear();
            order.encode(&mut piece);
            if agent.write_all(&piece).await.is_err() {
                return;
            }
        }
    }
}

enum Failure {
    Agent(AgentError),
    Gone,
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// A signal's name by its number on Linux.
fn signal(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        12 => Sig::Custom("USR2".to_owned()),
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("{other}@alcove")),
    }
}
