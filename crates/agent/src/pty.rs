//! Terminals: shells on a pseudo-terminal that any number of clients watch and type into.
//!
//! ```text
//!   registry ── finds terminals by id, for the toolbox API
//!      └─ Terminal ── one shell: start, input, size, end
//!           ├─ driver ── one task a shell; moves output to the scroll-back and input to the device
//!           │     └─ device ── the master side of the pseudo-terminal
//!           └─ Output ── the scroll-back, and where each viewer is in it
//!                 └─ Viewer ── one client's place
//! ```
//!
//! Output is kept once, in a ring of bounded size; a viewer is a position in it. While every viewer is behind by
//! the whole ring, the driver does not read the device, and the program that writes waits, as on any slow
//! terminal. It also waits for one that is behind and reads on; one that has stopped loses output as soon as another
//! keeps up, and is told how much. Viewers learn of the end when they have read all there is.
//!
//! Nothing in here knows of HTTP: whatever shows a terminal to a person attaches a [`output::Viewer`].

pub mod device;
mod driver;
pub mod output;
pub mod registry;
mod scrollback;
pub mod terminal;
