//! Which files of a work tree a request means.
//!
//! An entry is the name of a file or folder, from the top of the work tree or absolute. One that names nothing and has
//! wildcards is matched as git matches a pathspec; a file whose own name has such characters is found all the same.

use std::cell::Cell;
use std::path::{Component, Path};

use alcove_agent_api::ErrorCode;
use git2::{Pathspec, PathspecFlags, Repository};

use crate::{Fault, repository};

/// The entries of one request.
pub struct Selection {
    entries: Vec<Entry>,
}

struct Entry {
    given: String,
    /// From the top, without a slash at its end; empty for everything.
    literal: Vec<u8>,
    pattern: Option<Pathspec>,
    has_matched: Cell<bool>,
}

impl Selection {
    pub fn parse(repository: &Repository, files: &[String]) -> Result<Self, Fault> {
        let top = repository::work_tree(repository)?;
        let entries = files.iter().map(|given| {
            let literal = from_top(top, given)?;
            let pattern = if given.contains(['*', '?', '[']) {
                Some(Pathspec::new([literal.as_str()])?)
            } else {
                None
            };
            Ok(Entry {
                given: given.clone(),
                literal: literal.into_bytes(),
                pattern,
                has_matched: Cell::new(false),
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_, Fault>>()?,
        })
    }

    /// Whether the file is meant.
    pub fn includes(&self, path: &[u8]) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let mut is_included = false;
        for entry in &self.entries {
            if entry.matches(path) {
                entry.has_matched.set(true);
                is_included = true;
            }
        }
        is_included
    }

    /// Entries that have met no file: as given, and from the top of the work tree.
    pub fn unmatched(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let unmatched = self.entries.iter().filter(|entry| !entry.has_matched.get());
        unmatched.map(|entry| (entry.given.as_str(), entry.literal.as_slice()))
    }

    /// Refuses entries that have met no file.
    pub fn require_all(&self) -> Result<(), Fault> {
        match self.unmatched().find(|(_, literal)| !literal.is_empty()) {
            Some((given, _)) => Err(unknown(given)),
            None => Ok(()),
        }
    }
}

impl Entry {
    fn matches(&self, path: &[u8]) -> bool {
        if self.literal.is_empty() || path == self.literal {
            return true;
        }
        if path.starts_with(&self.literal) && path.get(self.literal.len()) == Some(&b'/') {
            return true;
        }
        let path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path);
        self.pattern
            .as_ref()
            .is_some_and(|pattern| pattern.matches_path(Path::new(path), PathspecFlags::DEFAULT))
    }
}

pub fn unknown(given: &str) -> Fault {
    let message = format_args!("{given:?} matches no file");
    Fault::new(ErrorCode::NotFound, message)
}

/// A name from the top of the work tree, without `.` and `..`.
fn from_top(top: &Path, given: &str) -> Result<String, Fault> {
    let refused = |why: &str| Fault::invalid(format_args!("{given:?} {why}"));
    if given.is_empty() || given.contains('\0') {
        return Err(refused("is no file name"));
    }
    let path = Path::new(given);
    let relative = if path.is_absolute() {
        path.strip_prefix(top)
            .map_err(|_| refused("is outside of the work tree"))?
    } else {
        path
    };
    let mut parts: Vec<&str> = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => parts.extend(name.to_str()),
            Component::CurDir => {}
            Component::ParentDir => {
                parts
                    .pop()
                    .ok_or_else(|| refused("is outside of the work tree"))?;
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused("is outside of the work tree"));
            }
        }
    }
    if parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
        return Err(refused("is inside of git's own folder"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(given: &str) -> Option<String> {
        from_top(Path::new("/repo/"), given).ok()
    }

    #[test]
    fn names_are_brought_to_the_top_of_the_work_tree() {
        assert_eq!(name(".").as_deref(), Some(""));
        assert_eq!(name("./a//b/").as_deref(), Some("a/b"));
        assert_eq!(name("a/../b").as_deref(), Some("b"));
        assert_eq!(name("/repo/a").as_deref(), Some("a"));
        for outside in [
            "",
            "..",
            "a/../../b",
            "/etc/passwd",
            ".git/config",
            "a/.GIT",
        ] {
            assert_eq!(name(outside), None, "{outside:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_the_work_tree(given in "[./a-c]{0,12}") {
            if let Some(name) = name(&given) {
                prop_assert!(!name.starts_with('/'));
                prop_assert!(name.split('/').all(|part| part != ".." && part != "."));
            }
        }
    }
}
