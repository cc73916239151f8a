//! Which actions there are.

use crate::action::Entry;
use crate::more::{preview, search, session, snapshot};
use crate::{files, git, process, sandbox};

/// How many of them are the catalogue that others wrote.
const CATALOGUE: usize = 12;

/// The twelve actions of the catalogue.
pub const ACTIONS: &[Entry] = TOOLS.split_at(CATALOGUE).0;

/// These, and what agents need beside them.
pub const TOOLS: &[Entry] = &[
    Entry::of::<sandbox::Create>(),
    Entry::of::<process::RunCode>(),
    Entry::of::<process::ExecuteCommand>(),
    Entry::of::<files::Upload>(),
    Entry::of::<files::Download>(),
    Entry::of::<files::List>(),
    Entry::of::<git::Clone>(),
    Entry::of::<sandbox::List>(),
    Entry::of::<sandbox::Get>(),
    Entry::of::<sandbox::Start>(),
    Entry::of::<sandbox::Stop>(),
    Entry::of::<sandbox::Delete>(),
    Entry::of::<sandbox::Pause>(),
    Entry::of::<snapshot::Fork>(),
    Entry::of::<snapshot::List>(),
    Entry::of::<snapshot::Create>(),
    Entry::of::<session::Create>(),
    Entry::of::<session::Run>(),
    Entry::of::<session::Logs>(),
    Entry::of::<session::List>(),
    Entry::of::<session::Delete>(),
    Entry::of::<search::Names>(),
    Entry::of::<search::Text>(),
    Entry::of::<preview::Url>(),
];

/// The action of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The tool of this name.
pub fn find_tool(name: &str) -> Option<&'static Entry> {
    TOOLS.iter().find(|action| action.name == name)
}
