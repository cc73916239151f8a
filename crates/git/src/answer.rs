//! What this program says, on its standard output: lines up to the outcome, then the body of the answer as it goes to
//! the client.

use std::io::{self, BufWriter, Stdout, Write};

use alcove_agent_api::{GitFault, GitLine};
use serde::Serialize;

use crate::Fault;

/// Where it writes.
pub struct Output {
    out: BufWriter<Stdout>,
    is_done: bool,
}

impl Output {
    pub fn new() -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            is_done: false,
        }
    }

    /// Says a line at once.
    pub fn say(&mut self, line: &GitLine) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        self.out.flush()
    }

    /// The whole body.
    ///
    /// # Errors
    /// The agent does not listen any more.
    pub fn json(&mut self, body: &impl Serialize) -> Result<(), Fault> {
        serde_json::to_writer(self.body()?, body).map_err(Fault::internal)
    }

    /// Opens the body for writing it piece by piece. From here on there is no way back to an error.
    pub fn body(&mut self) -> Result<&mut impl Write, Fault> {
        if !self.is_done {
            self.say(&GitLine::Done).map_err(Fault::internal)?;
            self.is_done = true;
        }
        Ok(&mut self.out)
    }

    /// The last word; whether all went well.
    pub fn finish(mut self, outcome: Result<(), Fault>) -> bool {
        let said = match outcome {
            Ok(()) => self.body().map(|_| ()).is_ok(),
            // A body cut short tells the agent by our exit code.
            Err(_) if self.is_done => false,
            Err(Fault { code, message }) => {
                let fault = GitFault { code, message };
                self.say(&GitLine::Failed(fault)).is_ok()
            }
        };
        said && self.out.flush().is_ok()
    }
}
