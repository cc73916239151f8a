//! The host side: one driver task a sandbox; images, disks, network slots, journal.
//!
//! [`Runner`] takes orders from the control plane and tells what is on the host. It is the only code that
//! touches what sandboxes are made of; everything that it leaves on the host while it is not running is in the
//! journal.

pub mod agent_probe;
mod archive;
mod backup;
mod build;
mod cancel;
pub mod disk;
pub mod disk_layers;
pub mod disk_pool;
pub mod driver;
pub mod faults;
pub mod host;
pub mod host_layer;
pub mod image;
mod in_root;
pub mod journal;
mod laps;
pub mod limits;
pub mod making;
pub mod mounts;
pub mod net;
mod own_memory;
mod pidfd;
pub mod probe;
mod pulls;
pub mod ranges;
pub mod registry;
mod runner;
mod sources;
pub mod spawner_client;
pub mod volumes;
pub mod warm_pool;

pub use agent_probe::{TOKEN_HEADER, socket_path};
pub use backup::{BackupCounts, BackupError, ImagesHeld, restore_images};
pub use build::{ContextSource, NoContexts};
pub use host::{Bounds, Egress};
pub use own_memory::give_back_memory;
pub use runner::{DialError, HostSize, OpenError, Programs, Runner, RunnerConfig};
