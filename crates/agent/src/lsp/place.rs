//! Where a document is: from the URIs of clients to paths, and from paths to the URIs of servers.
//!
//! Clients put `file://` in front of a path as a user wrote it: absolute, relative to the project or to the work
//! dir, mostly not percent-encoded. Servers get the one proper form.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::file::read::OpenFile;
use crate::lsp::LspError;

/// Longest document that is read for a server.
pub const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// All but the unreserved characters of a URI and the slash.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The proper URI of an absolute path.
pub fn uri_of(path: &Path) -> String {
    format!(
        "file://{}",
        percent_encode(path.as_os_str().as_bytes(), ESCAPED)
    )
}

/// The path in its shortest spelling, by its words alone: `..` takes away the part before it, link or not.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

/// The paths that a client may mean by a URI, the likeliest first.
///
/// # Errors
/// The URI names no file.
pub fn candidates(uri: &str, project: &Path, work_dir: &Path) -> Result<Vec<PathBuf>, LspError> {
    let bad = |reason: &str| LspError::Document(format!("{uri:?} {reason}"));
    let written = match uri.strip_prefix("file://") {
        Some(path) => path,
        None if uri.contains("://") => return Err(bad("is no file:// URI")),
        None => uri,
    };
    if written.is_empty() {
        return Err(bad("names no file"));
    }
    let decoded: Vec<u8> = percent_decode_str(written).collect();
    let decoded = PathBuf::from(std::ffi::OsString::from_vec(decoded));
    let mut paths = Vec::new();
    for path in [Path::new(written), &decoded] {
        for base in [project, work_dir] {
            let path = normal(&base.join(path));
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The first that exists, or else the first. Asks the file system.
pub fn first_existing(paths: Vec<PathBuf>) -> PathBuf {
    let at = paths.iter().position(|path| fs::metadata(path).is_ok());
    paths.into_iter().nth(at.unwrap_or(0)).unwrap_or_default()
}

/// The document's text. What is not UTF-8 in it is replaced.
///
/// # Errors
/// It cannot be read, is not a regular file, or is too long.
pub fn read(path: &Path) -> Result<String, LspError> {
    use std::io::Read;
    let failed = |reason: String| LspError::Document(reason);
    let too_long = || {
        failed(format!(
            "{} is longer than {MAX_DOCUMENT_BYTES} bytes",
            path.display()
        ))
    };
    let file = OpenFile::open(path).map_err(|error| failed(error.message))?;
    if file.metadata.len() > MAX_DOCUMENT_BYTES {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    file.into_file()
        .take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(too_long());
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn paths(uri: &str) -> Vec<PathBuf> {
        candidates(uri, Path::new("/w/p"), Path::new("/w")).unwrap()
    }

    #[test]
    fn a_path_is_taken_as_written_before_it_is_decoded() {
        assert_eq!(paths("file:///a/b.py"), [Path::new("/a/b.py")]);
        assert_eq!(
            paths("file:///a/b%20c.py"),
            [Path::new("/a/b%20c.py"), Path::new("/a/b c.py")]
        );
    }

    #[test]
    fn a_relative_path_is_the_projects_before_it_is_the_work_dirs() {
        let wanted = [Path::new("/w/p/p/a.py"), Path::new("/w/p/a.py")];
        assert_eq!(paths("file://p/a.py"), wanted);
        assert_eq!(paths("x/../p/./a.py"), wanted);
        assert_eq!(paths("file:///../a//b.py"), [Path::new("/a/b.py")]);
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for uri in ["", "file://", "http://host/a", "untitled://a"] {
            candidates(uri, Path::new("/"), Path::new("/")).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn a_uri_of_ours_leads_back_to_its_path(name in "[^/\0]{1,20}") {
            prop_assume!(name != "." && name != "..");
            let path = Path::new("/p").join(name);
            let uri = uri_of(&path);
            prop_assert!(uri.is_ascii() && !uri.contains([' ', '"', '#', '?']));
            let found = candidates(&uri, Path::new("/"), Path::new("/")).unwrap();
            prop_assert_eq!(found.last().unwrap(), &path);
        }

        #[test]
        fn no_uri_makes_it_panic(uri in any::<String>()) {
            let _ = candidates(&uri, Path::new("/p"), Path::new("/"));
        }
    }
}
