//! Files: what is asked for.

use crate::body::{BodyFields, FromBody};

/// `POST …/fs/read` and `POST …/fs/mkdir`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePath {
    pub path: String,
    /// Where a relative path starts.
    pub cwd: Option<String>,
    /// Of folders: whether those around it are made, and one that is there is taken.
    pub recursive: bool,
}

impl FromBody for FilePath {
    fn from_fields(fields: &mut BodyFields) -> Self {
        Self {
            path: fields.required("path", "a string"),
            cwd: fields.text("cwd"),
            recursive: fields.boolean("recursive").unwrap_or_default(),
        }
    }
}

impl FilePath {
    /// The path, from the folder that it starts at.
    pub fn joined(&self) -> String {
        match self.cwd.as_deref().filter(|cwd| !cwd.is_empty()) {
            Some(cwd) if !self.path.starts_with('/') => {
                format!("{}/{}", cwd.trim_end_matches('/'), self.path)
            }
            _ => self.path.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_starts_at_the_folder_that_is_named() {
        let joined = |path: &str, cwd: Option<&str>| {
            FilePath {
                path: path.to_owned(),
                cwd: cwd.map(str::to_owned),
                recursive: false,
            }
            .joined()
        };
        assert_eq!(joined("a/b", Some("/x/")), "/x/a/b");
        assert_eq!(joined("a", Some("/")), "/a");
        assert_eq!(joined("a", Some("")), "a");
        assert_eq!(joined("/a", Some("/x")), "/a");
        assert_eq!(joined("a", None), "a");
    }
}
