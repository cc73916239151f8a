//! Text in files, and names of files, below a folder.
//!
//! Both give their results bit by bit and do a bounded piece of work for each, so that whoever asks can stop.

use std::io;
use std::path::Path;

use alcove_agent_api::Match;
use bytes::Bytes;
use memchr::memchr;
use memchr::memmem::Finder;

use alcove_glob::Glob;

use crate::file::error::FileError;
use crate::file::lines::LineSearch;
use crate::file::read::{OpenFile, Reading};
use crate::file::walk::{Found, KERNEL_FOLDERS, Walk, clean};

/// Longest content of a match.
const MAX_CONTENT_BYTES: usize = 64 << 10;

/// Most matches of one search.
pub const MAX_MATCHES: usize = 100_000;

/// A file with a NUL so far in front is no text.
const PROBE_BYTES: usize = 512;

/// Bytes searched at a time; their matches are held in memory.
const PIECE_BYTES: usize = 32 << 10;

/// Work before the caller gets a say again, in bytes read. To open a file counts as much as to read some.
const BATCH_BYTES: usize = 4 << 20;
const OPEN_COST: usize = 8 << 10;

/// Matches after which they are sent; one piece may have more.
const BATCH_MATCHES: usize = 128;

/// Names looked at before the caller gets a say again.
const BATCH_NAMES: usize = 4096;

/// The way below a root, the root itself first.
#[derive(Debug)]
struct Below {
    root: Option<Found>,
    walk: Option<Walk>,
}

impl Below {
    /// Nothing for a root that does not exist.
    fn open(path: &Path, asked: &str) -> Result<Self, FileError> {
        let shown = clean(asked);
        let metadata = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_missing(&error) => {
                return Ok(Self {
                    root: None,
                    walk: None,
                });
            }
            Err(error) => return Err(FileError::new("cannot look at", path, &error)),
        };
        let walk = metadata
            .is_dir()
            .then(|| Walk::open(path, &shown, usize::MAX).ok())
            .flatten();
        let is_top = std::fs::canonicalize(path).is_ok_and(|path| path == Path::new("/"));
        let name = match shown.rsplit('/').next() {
            Some("") | None => shown.clone(),
            Some(last) => last.to_owned(),
        };
        Ok(Self {
            root: Some(Found {
                path: path.to_path_buf(),
                shown,
                name,
                kind: metadata.file_type(),
            }),
            walk: walk.map(|walk| walk.without(if is_top { KERNEL_FOLDERS } else { &[] })),
        })
    }
}

/// Nothing has that name, or what should be a folder on the way there is none.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl Iterator for Below {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        self.root.take().or_else(|| self.walk.as_mut()?.next())
    }
}

/// A search for text in regular files, line by line. Links are not followed; what cannot be read and what is no
/// text is passed over.
#[derive(Debug)]
pub struct FindText {
    files: Below,
    finder: Finder<'static>,
    current: Option<Scan>,
    left: usize,
    is_over: bool,
}

#[derive(Debug)]
struct Scan {
    shown: String,
    reading: Reading,
    /// Read and not searched yet.
    rest: Bytes,
    search: LineSearch,
    is_probed: bool,
}

impl FindText {
    /// `asked` is the path as the client wrote it; what is found is named after it.
    ///
    /// # Errors
    /// The path cannot be looked at. One that does not exist has no matches.
    pub fn new(path: &Path, asked: &str, pattern: &str) -> Result<Self, FileError> {
        Ok(Self {
            files: Below::open(path, asked)?,
            finder: Finder::new(pattern.as_bytes()).into_owned(),
            current: None,
            left: MAX_MATCHES,
            is_over: false,
        })
    }

    /// Whether there may be more matches than were given.
    pub fn is_cut(&self) -> bool {
        self.left == 0
    }

    /// The next matches, perhaps none yet; nothing at the end.
    pub fn next_batch(&mut self) -> Option<Vec<Match>> {
        if self.left == 0 || self.is_over {
            return None;
        }
        let mut found = Vec::new();
        let mut work = 0;
        while work < BATCH_BYTES && found.len() < BATCH_MATCHES {
            work += if let Some(scan) = &mut self.current {
                let (searched, is_over) = scan.step(&self.finder, &mut found);
                if is_over {
                    self.current = None;
                }
                searched
            } else {
                let Some(next) = self.files.find(|file| file.kind.is_file()) else {
                    self.is_over = true;
                    break;
                };
                self.current = Scan::open(&next.path, next.shown);
                OPEN_COST
            };
        }
        found.truncate(self.left);
        self.left -= found.len();
        Some(found)
    }
}

impl Scan {
    fn open(path: &Path, shown: String) -> Option<Self> {
        let file = OpenFile::open(path).ok()?;
        let reading = match file.known_size() {
            Some(size) => Reading::sized(file, 0, size),
            None => Reading::to_end(file),
        };
        Some(Self {
            shown,
            reading,
            rest: Bytes::new(),
            search: LineSearch::new(MAX_CONTENT_BYTES),
            is_probed: false,
        })
    }

    /// Searches the next piece: how much that was, and whether it was the last.
    fn step(&mut self, finder: &Finder<'_>, found: &mut Vec<Match>) -> (usize, bool) {
        let mut hits = Vec::new();
        if self.rest.is_empty() {
            // A file that became shorter, or cannot be read on, ends there.
            self.rest = self.reading.next_piece().ok().flatten().unwrap_or_default();
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        let is_binary =
            !self.is_probed && memchr(0, &piece[..piece.len().min(PROBE_BYTES)]).is_some();
        self.is_probed = true;
        if is_binary {
            return (piece.len(), true);
        }
        if piece.is_empty() {
            self.search.finish(finder, &mut hits);
        } else {
            self.search.push(finder, &piece, &mut hits);
        }
        found.extend(hits.into_iter().map(|hit| Match {
            file: self.shown.clone(),
            line: hit.line,
            content: hit.content,
        }));
        (piece.len(), piece.is_empty())
    }
}

/// A search for names.
#[derive(Debug)]
pub struct FindNames {
    entries: Below,
    /// Absent for a malformed pattern, which matches nothing.
    glob: Option<Glob>,
}

impl FindNames {
    /// # Errors
    /// As [`FindText::new`].
    pub fn new(path: &Path, asked: &str, pattern: &str) -> Result<Self, FileError> {
        Ok(Self {
            entries: Below::open(path, asked)?,
            glob: Glob::parse(pattern),
        })
    }

    /// The next paths, perhaps none yet; nothing at the end.
    pub fn next_batch(&mut self) -> Option<Vec<String>> {
        let glob = self.glob.as_ref()?;
        let mut entries = Vec::new();
        let mut looked_at = 0;
        for entry in self.entries.by_ref().take(BATCH_NAMES) {
            looked_at += 1;
            if glob.matches(&entry.name) {
                entries.push(entry.shown);
            }
        }
        (looked_at > 0).then_some(entries)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn all_matches(path: &Path, asked: &str, pattern: &str) -> Vec<(String, u64, String)> {
        let mut find = FindText::new(path, asked, pattern).unwrap();
        let mut all = Vec::new();
        while let Some(batch) = find.next_batch() {
            all.extend(batch.into_iter().map(|m| (m.file, m.line, m.content)));
        }
        all
    }

    fn all_names(path: &Path, asked: &str, pattern: &str) -> Vec<String> {
        let mut find = FindNames::new(path, asked, pattern).unwrap();
        std::iter::from_fn(|| find.next_batch()).flatten().collect()
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("b/x.txt", "no\nneedle here\n");
        write("a.txt", "needle");
        write(".git/c", "\n\n\na needle\r\n");
        write("binary", "needle\0");
        write("late-nul", &format!("needle{}\0", " ".repeat(600)));
        std::os::unix::fs::symlink("a.txt", dir.path().join("link")).unwrap();
        dir
    }

    #[test]
    fn text_is_found_in_order_and_not_in_binaries_or_through_links() {
        let dir = tree();
        let found: Vec<_> = all_matches(dir.path(), "./r/", "needle")
            .into_iter()
            .map(|(file, line, _)| (file, line))
            .collect();
        let wanted = [
            ("r/.git/c", 4),
            ("r/a.txt", 1),
            ("r/b/x.txt", 2),
            ("r/late-nul", 1),
        ];
        assert_eq!(found, wanted.map(|(file, line)| (file.to_owned(), line)));
        assert_eq!(all_matches(&dir.path().join("link"), "link", "needle"), []);
        assert_eq!(all_matches(&dir.path().join("none"), "none", "needle"), []);
        let file = all_matches(&dir.path().join("a.txt"), ".//a.txt", "need");
        assert_eq!(file, [("a.txt".to_owned(), 1, "needle".to_owned())]);
    }

    #[test]
    fn a_search_ends_at_its_most_matches_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "x\n".repeat(MAX_MATCHES + 5)).unwrap();
        let mut find = FindText::new(dir.path(), ".", "x").unwrap();
        let count: usize = std::iter::from_fn(|| find.next_batch())
            .map(|batch| batch.len())
            .sum();
        assert_eq!(count, MAX_MATCHES);
        assert!(find.is_cut());
    }

    #[test]
    fn a_batch_is_bounded_even_if_nothing_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
        std::io::Write::write_all(&mut &sparse, &[b' '; PROBE_BYTES]).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let mut find = FindText::new(dir.path(), ".", "x").unwrap();
        for _ in 0..3 {
            assert_eq!(find.next_batch(), Some(Vec::new()));
        }
        assert!(
            find.current
                .is_some_and(|scan| scan.search.kept_bytes() < 1 << 20)
        );
    }

    #[test]
    fn names_of_files_folders_and_links_are_found_in_order() {
        let dir = tree();
        assert_eq!(
            all_names(dir.path(), "r", "*.txt"),
            ["r/a.txt", "r/b/x.txt"]
        );
        assert_eq!(
            all_names(dir.path(), "r", "[bl]*"),
            ["r/b", "r/binary", "r/late-nul", "r/link"]
        );
        assert_eq!(all_names(dir.path(), "r", "r"), ["r"]);
        assert_eq!(all_names(dir.path(), ".", "x*"), ["b/x.txt"]);
        assert!(all_names(dir.path(), "r", "b/x.txt").is_empty());
        assert!(all_names(dir.path(), "r", "[").is_empty());
        assert!(all_names(&dir.path().join("none"), "none", "*").is_empty());
    }

    #[test]
    fn the_kernels_own_folders_are_not_searched_from_the_root() {
        let mut find = FindNames::new(Path::new("/"), "/", "*").unwrap();
        let first = find.next_batch().unwrap();
        let kernel = |path: &String| path.starts_with("/dev") || path.starts_with("/proc");
        assert!(!first.is_empty() && !first.iter().any(kernel));
    }
}
