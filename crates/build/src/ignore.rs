//! `.dockerignore`: which files of the context count as not there.

use alcove_glob::PathPattern;

/// Most patterns of one file.
const PATTERNS_MAX: usize = 10_000;

/// The patterns of a `.dockerignore`, in order. The last one that matches a path or a folder above it decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<(bool, PathPattern)>,
}

impl Ignore {
    /// # Errors
    /// The reason in words, with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            // A comment begins in the first column.
            let line = if line.starts_with('#') {
                ""
            } else {
                line.trim()
            };
            let (is_kept, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let bad = || format!(".dockerignore line {}: bad pattern", number + 1);
            let pattern = PathPattern::parse(pattern).ok_or_else(bad)?;
            if pattern.is_empty() {
                if line == "!" {
                    return Err(format!(
                        ".dockerignore line {}: nothing behind the !",
                        number + 1
                    ));
                }
                continue;
            }
            if patterns.len() == PATTERNS_MAX {
                return Err(format!(
                    ".dockerignore has more than {PATTERNS_MAX} patterns"
                ));
            }
            patterns.push((is_kept, pattern));
        }
        Ok(Self { patterns })
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the file or folder with this path, in parts, is left out. A folder that is left out may still have files
    /// in it that are not.
    pub fn leaves_out(&self, path: &[&str]) -> bool {
        let mut is_out = false;
        for (is_kept, pattern) in &self.patterns {
            if *is_kept != is_out {
                continue;
            }
            if pattern.covers(path) {
                is_out = !is_kept;
            }
        }
        is_out
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn out(text: &str, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        Ignore::parse(text).unwrap().leaves_out(&parts)
    }

    #[test]
    fn the_last_match_decides_and_folders_take_what_is_in_them() {
        assert!(out("*.log", "a.log"));
        assert!(!out("*.log", "d/a.log"));
        assert!(out("**/*.log", "d/e/a.log"));
        assert!(out("**/*.log", "a.log"));
        assert!(out("target", "target/x/y"));
        assert!(out("/target/", "target/x"));
        assert!(!out("*\n!keep", "keep/x"));
        assert!(out("!keep\n*", "keep"));
        assert!(out("*\n!keep\nkeep/secret", "keep/secret"));
        assert!(!out("# *\n\n", "x"));
        assert!(out("a/**/z", "a/b/c/z"));
        assert!(out("a/**", "a/b"));
        assert!(!out("a/../b", "a"));
        assert!(out("a/../b", "b"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"[a*?!/\[\]\\.# \n]{0,80}", path in "[a./]{1,20}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
                ignore.leaves_out(&parts);
            }
        }
    }
}
