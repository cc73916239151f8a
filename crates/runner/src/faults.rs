//! Named places at which a test makes the work fail, or ends the whole process.
//!
//! Every step that leaves something on the host asks here first. In production nobody answers; the tests
//! fail each step in turn, or kill the server there, and look at what is left behind.

use std::io;
use std::str::FromStr;

macro_rules! steps {
    ($($(#[$note:meta])* $step:ident,)+) => {
        /// The steps of all that leaves something on the host.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Step {
            $($(#[$note])* $step,)+
        }

        impl Step {
            /// All there are.
            pub const EVERY: &[Self] = &[$(Self::$step,)+];
        }
    };
}

steps! {
    // Of making and starting a sandbox, in order.
    Admit,
    Range,
    RecordMaking,
    Disk,
    Group,
    Network,
    Volumes,
    Layers,
    Root,
    Listener,
    Policy,
    Spawn,
    Agent,
    RecordRunning,
    // Of one that is made ahead of need.
    Parked,
    HandedOver,
    // Of what is made of a sandbox that exists.
    HoldNoted,
    Held,
    NetworkNoted,
    NetworkSet,
    Sized,
    DiskGrown,
    DiskCopied,
    Captured,
    ChildRecorded,
    ArchiveWritten,
    ArchiveSettled,
    RestoreWritten,
    RestoreRecorded,
    // Of images, wherever they come from.
    /// All files of a layer are there, and it has no name yet.
    LayerUnpacked,
    LayerNamed,
    /// An image is written down, and nothing means it yet.
    ImageWritten,
    ImageNamed,
    // Of pulls.
    ImageDescribed,
    LayerFetched,
    LayerOwned,
    // Of builds.
    ContextUnpacked,
    StepMade,
    StepRun,
    StepRemoved,
    Composed,
    // Of images that nothing needs.
    NameForgotten,
    ImagesRemoved,
    LayersAside,
    // Of volumes.
    VolumeMade,
    VolumeAttached,
    VolumeRemoved,
    /// A volume is held still, to be copied.
    VolumeHeld,
    /// A copy that is to be a volume is whole, and has no name yet.
    VolumeForked,
}

impl Step {
    /// Those of parking a sandbox.
    pub const PARKING: [Self; 9] = [
        Self::Admit,
        Self::Disk,
        Self::Group,
        Self::Network,
        Self::Volumes,
        Self::Layers,
        Self::Root,
        Self::Listener,
        Self::Parked,
    ];

    /// Those of giving a parked one to its owner.
    pub const HANDING_OVER: [Self; 4] = [
        Self::Policy,
        Self::HandedOver,
        Self::Agent,
        Self::RecordRunning,
    ];

    /// Those of making and starting a sandbox.
    pub const ALL: [Self; 14] = [
        Self::Admit,
        Self::Range,
        Self::RecordMaking,
        Self::Disk,
        Self::Group,
        Self::Network,
        Self::Volumes,
        Self::Layers,
        Self::Root,
        Self::Listener,
        Self::Policy,
        Self::Spawn,
        Self::Agent,
        Self::RecordRunning,
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
        let mut steps = Self::EVERY.iter();
        let found = steps.find(|step| format!("{step:?}") == text);
        found.copied().ok_or(NoSuchStep)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_by_their_names() {
        for step in Step::EVERY {
            assert_eq!(format!("{step:?}").parse(), Ok(*step));
        }
        assert_eq!("Nothing".parse::<Step>(), Err(NoSuchStep));
    }
}
