//! Patterns for paths: patterns for names with slashes between them, and `**` for any number of folders.

use crate::Glob;

/// The parts of a path without what does not lead anywhere: empty ones, `.`, and `..` with the part before it.
pub fn clean(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

/// A pattern for paths, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Name(Glob),
    AnyFolders,
}

impl PathPattern {
    /// None for a malformed pattern: a class that is open or empty, a backslash at the end of a name.
    pub fn parse(pattern: &str) -> Option<Self> {
        let parts = clean(pattern).into_iter().map(|part| match part.as_str() {
            "**" => Some(Part::AnyFolders),
            name => Glob::parse(name).map(Part::Name),
        });
        parts.collect::<Option<_>>().map(Self)
    }

    /// Whether nothing is left of the pattern, so that it matches the top alone.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it matches the whole of a path.
    pub fn matches(&self, path: &[&str]) -> bool {
        // One row of a table, so that many `**` cost no more than a product.
        let mut row: Vec<bool> = vec![false; path.len() + 1];
        row[0] = true;
        for (number, part) in self.0.iter().enumerate() {
            let mut next = vec![false; path.len() + 1];
            match part {
                Part::AnyFolders => {
                    // At the end it stands for what is in a folder, and not for the folder.
                    let least = usize::from(number + 1 == self.0.len());
                    if let Some(first) = row.iter().position(|reached| *reached) {
                        next.iter_mut()
                            .skip(first + least)
                            .for_each(|next| *next = true);
                    }
                }
                Part::Name(glob) => {
                    for (at, name) in path.iter().enumerate() {
                        next[at + 1] = row[at] && glob.matches(name);
                    }
                }
            }
            row = next;
        }
        row[path.len()]
    }

    /// Whether it matches a path, or a folder above it.
    pub fn covers(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|length| self.matches(&path[..length]))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn parts(path: &str) -> Vec<&str> {
        path.split('/').filter(|part| !part.is_empty()).collect()
    }

    #[test]
    fn paths_match_part_by_part_and_any_number_of_folders() {
        for (pattern, path, wanted) in [
            ("*.log", "a.log", true),
            ("*.log", "d/a.log", false),
            ("**/*.log", "d/e/a.log", true),
            ("**/*.log", "a.log", true),
            ("/a//b/./", "a/b", true),
            ("a/../b", "b", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("**", "a", true),
        ] {
            let found = PathPattern::parse(pattern).unwrap().matches(&parts(path));
            assert_eq!(found, wanted, "{pattern:?} on {path:?}");
        }
        assert!(PathPattern::parse("a").unwrap().covers(&["a", "b"]));
        assert!(!PathPattern::parse("b").unwrap().covers(&["a", "b"]));
        assert_eq!(PathPattern::parse("a/[/b"), None);
        assert!(PathPattern::parse("/./").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_pattern_is_read_or_refused(pattern in r"[a*?/\[\]\\.]{0,40}", path in "[a./]{1,20}") {
            if let Some(pattern) = PathPattern::parse(&pattern) {
                let parts = parts(&path);
                prop_assert!(!pattern.matches(&parts) || parts.is_empty() || pattern.covers(&parts));
            }
        }
    }
}
