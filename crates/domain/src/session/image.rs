//! Runtimes and images as clients of sessions name them.

/// What an image stands for that a client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageWord<'a> {
    /// The snapshot of this name, or else the default one, which has the same languages.
    Like(&'a str),
    /// The snapshot of this name.
    Snapshot(&'a str),
    /// A reference to a registry.
    Reference(&'a str),
}

/// Runtimes of the vendor, and what its images with the same are called.
const LANGUAGES: [&str; 9] = [
    "node22",
    "node24",
    "node26",
    "python3.13",
    "universal",
    "node:22",
    "node:24",
    "node:26",
    "python:3.14",
];

/// What the word for a runtime means.
pub fn runtime_word(runtime: &str) -> ImageWord<'_> {
    if LANGUAGES.contains(&runtime) {
        ImageWord::Like(runtime)
    } else {
        ImageWord::Snapshot(runtime)
    }
}

/// What the name of an image means. Those of the vendor are kept here under their last part, if at all.
pub fn image_word(image: &str) -> ImageWord<'_> {
    match image.strip_prefix("vercel/sandbox/") {
        None => ImageWord::Reference(image),
        Some(name) if LANGUAGES.contains(&name) => ImageWord::Like(name),
        Some(name) => ImageWord::Snapshot(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_vendor_are_told_from_references() {
        assert_eq!(runtime_word("node22"), ImageWord::Like("node22"));
        assert_eq!(runtime_word("node4"), ImageWord::Snapshot("node4"));
        let word = image_word;
        assert_eq!(word("vercel/sandbox/node:24"), ImageWord::Like("node:24"));
        assert_eq!(word("vercel/sandbox/arch"), ImageWord::Snapshot("arch"));
        assert_eq!(word("python:3.12"), ImageWord::Reference("python:3.12"));
    }
}
