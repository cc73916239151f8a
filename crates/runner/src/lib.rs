//! The host side: one driver task a sandbox; images, disks, network slots, journal.

pub mod net;
