//! Programs with somebody attached, and files by SFTP: what the server's SSH gateway asks for.
//!
//! A program's input, output and errors travel over one connection, in pieces; see [`alcove_agent_api::RunOrder`]. When
//! the connection ends, the program is hung up on, as it would be by a terminal that goes away.

mod drive;
mod modes;
mod running;
pub mod sftp;

pub use drive::drive;
