//! Named places at which a test makes a write fail, or ends the whole process.
//!
//! In production nobody answers.

use std::io;
use std::str::FromStr;

/// The steps of all that changes what is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// All bytes have come, and are in a draft.
    Filled,
    /// The draft is on the disk with its header.
    Sealed,
    /// The object has its name.
    Named,
    UploadBegun,
    PartNamed,
    /// The object of an upload has its name, and the upload is there still.
    UploadJoined,
    /// An upload has lost its name, and its files are there still.
    UploadBuried,
    Deleted,
    /// An upload in parts is begun in another store, and written down.
    PushBegun,
    PartPushed,
    /// The object is in another store.
    Pushed,
}

impl Step {
    pub const EVERY: [Self; 11] = [
        Self::Filled,
        Self::Sealed,
        Self::Named,
        Self::UploadBegun,
        Self::PartNamed,
        Self::UploadJoined,
        Self::UploadBuried,
        Self::Deleted,
        Self::PushBegun,
        Self::PartPushed,
        Self::Pushed,
    ];
}

/// There is no such step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such step")]
pub struct NoSuchStep;

impl FromStr for Step {
    type Err = NoSuchStep;

    /// By the name that it has here.
    fn from_str(text: &str) -> Result<Self, NoSuchStep> {
        let mut steps = Self::EVERY.into_iter();
        steps
            .find(|step| format!("{step:?}") == text)
            .ok_or(NoSuchStep)
    }
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
