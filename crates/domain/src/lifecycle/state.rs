//! The words that the API has for states.

macro_rules! states {
    ($(#[$doc:meta])* $kind:ident { $($name:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind { $($name),* }

        impl $kind {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The spelling in the API and in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

states! {
    /// What a sandbox is.
    SandboxState {
        Creating = "creating",
        Restoring = "restoring",
        Destroyed = "destroyed",
        Destroying = "destroying",
        Started = "started",
        Stopped = "stopped",
        Starting = "starting",
        Stopping = "stopping",
        Error = "error",
        BuildFailed = "build_failed",
        PendingBuild = "pending_build",
        BuildingSnapshot = "building_snapshot",
        Unknown = "unknown",
        PullingSnapshot = "pulling_snapshot",
        Archived = "archived",
        Archiving = "archiving",
        Resizing = "resizing",
        Snapshotting = "snapshotting",
        Forking = "forking",
        Pausing = "pausing",
        Paused = "paused",
        Resuming = "resuming",
    }
}

states! {
    /// What a sandbox should become.
    DesiredState {
        Destroyed = "destroyed",
        Started = "started",
        Stopped = "stopped",
        Resized = "resized",
        Archived = "archived",
        Paused = "paused",
    }
}

states! {
    /// Why a sandbox is not what was asked, for programs. Stored: names stay as they are.
    FaultCode {
        ImageMissing = "image_missing",
        UserMissing = "user_missing",
        HostDiskFull = "host_disk_full",
        HostMemoryFull = "host_memory_full",
        HostPidsFull = "host_pids_full",
        NetworkSlotsFull = "network_slots_full",
        AgentSilent = "agent_silent",
        AgentExited = "agent_exited",
        OutOfMemory = "out_of_memory",
        HostRebooted = "host_rebooted",
        Lost = "lost",
        TimedOut = "timed_out",
        Unsupported = "unsupported",
        VolumeUnusable = "volume_unusable",
        BuildFailed = "build_failed",
        Internal = "internal",
    }
}
