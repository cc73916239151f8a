//! Patterns for names and for paths. The agent searches and copies by them, and `.dockerignore` is made of them.
//!
//! The grammar of a name is that of Go's `filepath.Match`, since that is what Dockerfiles are read by elsewhere.

mod name;
mod path;

pub use name::Glob;
pub use path::{PathPattern, clean};

/// A pattern that means this very path.
pub fn escape(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_path_means_itself_and_nothing_else() {
        for (path, other) in [("a*b", "axb"), ("[ab]", "a"), ("a?", "ab"), ("a\\*", "ab")] {
            let pattern = PathPattern::parse(&escape(path)).expect("a pattern");
            assert!(pattern.covers(&[path]), "{path}");
            assert!(!pattern.covers(&[other]), "{path}");
        }
    }
}
