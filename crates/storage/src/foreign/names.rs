//! Names of objects in the bucket.
//!
//! Each part of a path gets a mark in front of it, so that none of them is empty or a dot. A slash sorts before or after
//! any other character as it did without the marks, so lists of the store are in the order of our paths.

use crate::{Bucket, Key};

/// Objects, as files of the folder have them: header and content.
const OBJECTS: &str = "objects";
/// Empty objects that say when one was refreshed.
const MARKS: &str = "marks";
const MARK: char = '=';

/// Where the names of our objects begin.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl Names {
    pub fn new(prefix: &str) -> Self {
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self {
            prefix: format!("{prefix}{slash}"),
        }
    }

    pub fn object(&self, key: &Key) -> String {
        self.beginning(key.bucket(), key.path())
    }

    pub fn mark(&self, key: &Key) -> String {
        let path = marked(key.path());
        format!("{}{MARKS}/{}/{path}", self.prefix, key.bucket())
    }

    /// What the names of all objects begin with whose paths begin with `path`.
    pub fn beginning(&self, bucket: Bucket, path: &str) -> String {
        format!("{}{}", self.bucket(bucket), marked(path))
    }

    /// Behind what the names of all objects stand that are in a folder, which ends in a slash, or before it.
    pub fn behind_folder(&self, bucket: Bucket, folder: &str) -> String {
        let folder = marked(folder.strip_suffix('/').unwrap_or(folder));
        format!("{}{folder}/{}", self.bucket(bucket), char::MAX)
    }

    /// Before what the names of all objects stand that are in a folder, and behind what comes before them.
    pub fn before_folder(&self, bucket: Bucket, folder: &str) -> String {
        let folder = marked(folder.strip_suffix('/').unwrap_or(folder));
        // The character before the slash, and then the last of all.
        format!("{}{folder}.{}", self.bucket(bucket), char::MAX)
    }

    /// The path that a name stands for; None if it is not one of ours.
    pub fn path(&self, bucket: Bucket, name: &str) -> Option<String> {
        let parts = name.strip_prefix(&self.bucket(bucket))?.split('/');
        let parts: Option<Vec<&str>> = parts.map(|part| part.strip_prefix(MARK)).collect();
        Some(parts?.join("/"))
    }

    fn bucket(&self, bucket: Bucket) -> String {
        format!("{}{OBJECTS}/{bucket}/", self.prefix)
    }
}

fn marked(path: &str) -> String {
    let mut marked = String::with_capacity(path.len() + 8);
    for (number, part) in path.split('/').enumerate() {
        if number > 0 {
            marked.push('/');
        }
        marked.push(MARK);
        marked.push_str(part);
    }
    marked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUCKET: Bucket = Bucket::CONTEXTS;

    #[test]
    fn a_name_shows_what_it_is_of() {
        let names = Names::new("mine/here");
        assert_eq!(
            names.beginning(BUCKET, "org/a b//c"),
            "mine/here/objects/contexts/=org/=a b/=/=c"
        );
        assert_eq!(Names::new("").beginning(BUCKET, ""), "objects/contexts/=");
        assert_eq!(names.path(BUCKET, "mine/here/objects/contexts/org"), None);
    }

    proptest! {
        #[test]
        fn names_lead_back_to_their_paths_and_sort_as_they_do(
            one in "[!-/a/é]{0,8}", other in "[!-/a/é]{0,8}", more in "[a/]{0,3}"
        ) {
            let names = Names::new("p");
            let name = |path: &str| names.beginning(BUCKET, path);
            prop_assert_eq!(names.path(BUCKET, &name(&one)), Some(one.clone()));
            prop_assert_eq!(name(&one).cmp(&name(&other)), one.cmp(&other));
            let longer = format!("{one}{more}");
            prop_assert!(name(&longer).starts_with(&name(&one)));
            // No part that object_store takes for another one.
            let parsed = object_store::path::Path::parse(name(&one)).map(String::from);
            prop_assert_eq!(parsed.ok(), Some(name(&one)));
        }

        #[test]
        fn what_is_in_a_folder_stands_before_its_end_and_what_follows_behind(
            folder in "[a/]{1,5}", inner in "[ -~é]{0,6}", next in "[0-~é]{1,3}", earlier in "[ -.]{0,3}"
        ) {
            let names = Names::new("p");
            let end = names.behind_folder(BUCKET, &format!("{folder}/"));
            let within = names.beginning(BUCKET, &format!("{folder}/{inner}"));
            let behind = names.beginning(BUCKET, &format!("{folder}{next}"));
            let start = names.before_folder(BUCKET, &format!("{folder}/"));
            let before = names.beginning(BUCKET, &format!("{folder}{earlier}"));
            prop_assert!(before < start && start < within);
            prop_assert!(within < end);
            prop_assert!(end < behind);
        }
    }
}
