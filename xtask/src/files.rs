//! Sizes and names of source files, and where `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Longer files must say why in their header, in a sentence that starts with "Long because".
const LINES_MAX: usize = 550;

/// How far down the header reaches.
const HEADER_LINES: usize = 20;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs"];

/// Where code may hold `unsafe`: what makes sandboxes, the settings of a C library, and tests that attack sandboxes.
const UNSAFE_PLACES: &[&str] = &[
    "crates/spawner",
    "crates/runner",
    "crates/agent",
    "crates/git/src/libgit2.rs",
    "e2e",
];

/// Every rule that the tree breaks, in words.
pub fn broken_rules(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for folder in ["crates", "e2e", "fuzz", "xtask"] {
        for path in sources(&root.join(folder))? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            broken.extend(broken_in_file(name, &text));
        }
    }
    Ok(broken)
}

fn broken_in_file(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = text.lines().count();
    let has_reason = text
        .lines()
        .take(HEADER_LINES)
        .any(|line| line.starts_with("//! Long because"));
    if lines > LINES_MAX && !has_reason {
        broken.push(format!(
            "{}: {lines} lines, more than {LINES_MAX}; split it, or say \"Long because …\" in its header",
            path.display()
        ));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| EMPTY_NAMES.contains(&name)) {
        broken.push(format!("{}: the name says nothing", path.display()));
    }
    // Put together, so that this line does not find itself.
    let block = concat!("unsafe", " {");
    let may_be_unsafe = UNSAFE_PLACES.iter().any(|place| path.starts_with(place));
    if !may_be_unsafe && text.contains(block) {
        broken.push(format!("{}: no place for unsafe code", path.display()));
    }
    broken
}

fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "// line\n".repeat(LINES_MAX + 1);
        let path = Path::new("crates/x/src/long.rs");
        assert_eq!(broken_in_file(path, &long).len(), 1);
        let reasoned = format!("//! Long because it is a table.\n{long}");
        assert!(broken_in_file(path, &reasoned).is_empty());
    }

    #[test]
    fn an_empty_name_and_unsafe_code_in_the_wrong_place_are_told() {
        let text = concat!("fn f() { unsafe", " { g() } }");
        assert_eq!(
            broken_in_file(Path::new("crates/control/src/utils.rs"), text).len(),
            2
        );
        assert!(broken_in_file(Path::new("crates/spawner/src/stage.rs"), text).is_empty());
    }

    #[test]
    fn the_tree_breaks_no_rule() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert_eq!(
            broken_rules(&root).expect("the tree can be read"),
            Vec::<String>::new()
        );
    }
}
