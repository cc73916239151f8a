//! What a helper says, on its standard output: lines of JSON up to the outcome, then the body of the answer as it
//! goes to the client.

use std::io::{self, BufWriter, Stdout, Write};

use serde::{Deserialize, Serialize};

use super::Fault;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Line {
    /// The folder of a clone is the helper's from here on. Should the helper fail or die, what is in it goes, and if
    /// the helper `made` the folder, the folder too.
    Claimed { made: bool },
    /// The body follows.
    Done,
    /// Nothing follows.
    Failed(Fault),
}

/// Where the helper writes.
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
    pub fn say(&mut self, line: &Line) -> io::Result<()> {
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
            self.say(&Line::Done).map_err(Fault::internal)?;
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
            Err(fault) => self.say(&Line::Failed(fault)).is_ok(),
        };
        said && self.out.flush().is_ok()
    }
}
