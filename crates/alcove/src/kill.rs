//! The end of the process at a place that a test names, as a kill from outside would be, but at that very place.
//!
//! `ALCOVE_KILL_AT=runner:StepRun` ends the server where it has got so far for the first time, `…#3` for the third. The
//! places are the steps of the crates `alcove_runner::faults`, `alcove_storage::faults` and `alcove_control::Step`. Only
//! builds for development look at the variable.

use std::fmt::Debug;
use std::io;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use alcove_control::{Probe, Step};
use alcove_runner::faults as of_runner;
use alcove_storage::faults as of_storage;
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use rustix::process::{Signal, getpid, kill_process};

const VARIABLE: &str = "ALCOVE_KILL_AT";

/// Where the server dies.
#[derive(Debug)]
pub struct KillAt {
    place: String,
    /// Arrivals until then, with the last.
    left: AtomicU32,
}

impl KillAt {
    /// What the environment asks for.
    pub fn wanted() -> anyhow::Result<Option<Arc<Self>>> {
        if !cfg!(debug_assertions) {
            return Ok(None);
        }
        let Ok(text) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        let kill = Self::parse(&text).with_context(|| format!("cannot use {VARIABLE}={text}"))?;
        Ok(Some(Arc::new(kill)))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let (place, arrivals) = text.split_once('#').unwrap_or((text, "1"));
        let is_known = match place.split_once(':') {
            Some(("runner", step)) => of_runner::Step::from_str(step).is_ok(),
            Some(("storage", step)) => of_storage::Step::from_str(step).is_ok(),
            Some(("control", step)) => [&Step::ALL[..], &Step::BEGINNING, &Step::RESUMING]
                .concat()
                .iter()
                .any(|it| format!("{it:?}") == step),
            _ => false,
        };
        if !is_known {
            bail!("there is no such place");
        }
        Ok(Self {
            place: place.to_owned(),
            left: AtomicU32::new(arrivals.parse().context("after # stands a number")?),
        })
    }

    fn reached(&self, part: &str, step: impl Debug) {
        let place = format!("{part}:{step:?}");
        if place != self.place || self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        eprintln!(
            "alcove: process {} kills itself at {place}",
            std::process::id()
        );
        let killed = kill_process(getpid(), Signal::KILL);
        // Nobody comes back from that; the rest is for a kernel that lets a process live on.
        eprintln!("alcove: not killed: {killed:?}");
        std::process::abort();
    }
}

impl of_runner::Faults for KillAt {
    fn at(&self, step: of_runner::Step) -> io::Result<()> {
        self.reached("runner", step);
        Ok(())
    }
}

impl of_storage::Faults for KillAt {
    fn at(&self, step: of_storage::Step) -> io::Result<()> {
        self.reached("storage", step);
        Ok(())
    }
}

#[async_trait]
impl Probe for KillAt {
    async fn reached(&self, step: Step) {
        Self::reached(self, "control", step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_nobody_comes_to_are_refused() {
        for text in [
            "runner:StepRun",
            "storage:Sealed#2",
            "control:OutcomeWritten",
            "control:RunsAgain",
        ] {
            assert!(KillAt::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "StepRun",
            "runner:Nothing",
            "storage:StepRun",
            "runner:StepRun#x",
        ] {
            assert!(KillAt::parse(text).is_err(), "{text}");
        }
    }
}
