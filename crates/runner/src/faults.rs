//! Named places at which a test makes the work fail.
//!
//! Every step that leaves something on the host asks here first. In production nobody answers; the tests
//! fail each step in turn and look at what is left behind.

use std::io;

/// The steps of making a sandbox, in order, and those of all that is made of it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    Admit,
    Range,
    RecordMaking,
    Disk,
    Group,
    Network,
    Volumes,
    Root,
    Listener,
    Spawn,
    Agent,
    RecordRunning,
    // Of what is made of a sandbox that exists.
    Held,
    Sized,
    DiskGrown,
    DiskCopied,
    Captured,
    ChildRecorded,
    ArchiveWritten,
    ArchiveSettled,
    RestoreWritten,
    RestoreRecorded,
}

impl Step {
    /// Those of making and starting a sandbox.
    pub const ALL: [Self; 12] = [
        Self::Admit,
        Self::Range,
        Self::RecordMaking,
        Self::Disk,
        Self::Group,
        Self::Network,
        Self::Volumes,
        Self::Root,
        Self::Listener,
        Self::Spawn,
        Self::Agent,
        Self::RecordRunning,
    ];
}

/// Who decides whether a step fails.
pub trait Faults: std::fmt::Debug + Send + Sync {
    /// Called after the step has done its work and before anyone relies on it.
    ///
    /// # Errors
    /// The error with which the step shall fail.
    fn at(&self, step: Step) -> io::Result<()>;
}

/// Nothing fails on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}
