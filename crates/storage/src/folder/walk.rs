//! Through a bucket in the order of its keys.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::header;
use super::ledger::Use;
use crate::error::failed;
use crate::key::{FileName, read_file_name};
use crate::{Entry, List, Listing, Object, StorageError};

/// Lists what is in the folder of a bucket.
pub(crate) fn list(bucket: &Path, list: &List) -> Result<Listing, StorageError> {
    let mut walk = Walk {
        list,
        found: Listing::default(),
        last: None,
    };
    if list.max > 0 {
        walk.folder(bucket, "")?;
    }
    Ok(walk.found)
}

struct Walk<'a> {
    list: &'a List,
    found: Listing,
    last: Option<String>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Full,
}

impl Walk<'_> {
    /// `path` is empty or ends in a slash.
    fn folder(&mut self, folder: &Path, path: &str) -> Result<Next, StorageError> {
        for (name, file) in sorted(folder)? {
            let whole = format!("{path}{name}");
            let next = if name.ends_with('/') && file.starts_with('d') {
                self.inner_folder(&folder.join(&file), whole)?
            } else {
                self.object(&folder.join(&file), whole)?
            };
            if next == Next::Full {
                return Ok(Next::Full);
            }
        }
        Ok(Next::GoOn)
    }

    fn inner_folder(&mut self, folder: &Path, path: String) -> Result<Next, StorageError> {
        let prefix = &self.list.prefix;
        if !path.starts_with(prefix) && !prefix.starts_with(&path) {
            return Ok(Next::GoOn);
        }
        let is_one_entry = self.list.by_folder && path.len() > prefix.len();
        if let Some(after) = &self.list.after {
            // Where the page before ended within the folder, there may be more of it.
            let is_within = after.starts_with(&path) && !(is_one_entry && *after == path);
            if path <= *after && !is_within {
                return Ok(Next::GoOn);
            }
        }
        if !is_one_entry {
            return self.folder(folder, &path);
        }
        if !has_object(folder)? {
            return Ok(Next::GoOn);
        }
        if self.is_full() {
            return Ok(Next::Full);
        }
        self.last = Some(path.clone());
        self.found.folders.push(path);
        Ok(Next::GoOn)
    }

    fn object(&mut self, file: &Path, path: String) -> Result<Next, StorageError> {
        let is_wanted = path.starts_with(&self.list.prefix)
            && self.list.after.as_ref().is_none_or(|after| path > *after);
        if !is_wanted {
            return Ok(Next::GoOn);
        }
        let object = match look_at(file) {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Next::GoOn),
            Err(StorageError::Damaged { what }) => {
                tracing::error!(file = %file.display(), "an object is damaged: {what}");
                self.found.damaged += 1;
                return Ok(Next::GoOn);
            }
            Err(error) => return Err(error),
        };
        if self.is_full() {
            return Ok(Next::Full);
        }
        self.last = Some(path.clone());
        self.found.entries.push(Entry { path, object });
        Ok(Next::GoOn)
    }

    /// Whether the page has no room for one more. Then the next page begins behind the last of this one.
    fn is_full(&mut self) -> bool {
        let is_full = self.found.entries.len() + self.found.folders.len() >= self.list.max;
        if is_full {
            self.found.next.clone_from(&self.last);
        }
        is_full
    }
}

/// What is in a folder, as parts of keys (folders with their slash) with file names, in the order of the parts'
/// bytes. That is the order of whole keys: in them, a slash follows each folder.
fn sorted(folder: &Path) -> Result<Vec<(String, String)>, StorageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Emptied and removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list a folder of objects")(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list a folder of objects"))?;
        let Ok(file) = entry.file_name().into_string() else {
            continue;
        };
        match read_file_name(&file) {
            Some(FileName::Folder(part)) => names.push((format!("{part}/"), file)),
            Some(FileName::Object(part)) => names.push((part, file)),
            None => tracing::warn!(file, "a file among the objects is none"),
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn has_object(folder: &Path) -> Result<bool, StorageError> {
    for (_, file) in sorted(folder)? {
        if !file.starts_with('d') || has_object(&folder.join(&file))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The object in a file; None if it is gone.
fn look_at(file: &Path) -> Result<Option<Object>, StorageError> {
    match File::open(file) {
        Ok(opened) => header::read(&opened).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open an object")(error)),
    }
}

/// Counts all objects in a folder and removes folders that a killed process left empty.
fn count_and_tidy(folder: &Path) -> Result<Use, StorageError> {
    let mut sum = Use::default();
    for (_, file) in sorted(folder)? {
        let path = folder.join(&file);
        if file.starts_with('d') {
            let inner = count_and_tidy(&path)?;
            if inner.objects == 0 {
                // Fails if there is something else in it, which then stays.
                let _ = fs::remove_dir(&path);
            }
            sum.bytes += inner.bytes;
            sum.objects += inner.objects;
        } else {
            let length = fs::metadata(&path)
                .map_err(failed("look at the file of an object"))?
                .len();
            sum.bytes += length.saturating_sub(header::HEADER_BYTES);
            sum.objects += 1;
        }
    }
    Ok(sum)
}

/// What an owner has in a bucket.
#[derive(Debug)]
pub(crate) struct Owner {
    pub name: String,
    pub used: Use,
}

/// All owners in the folder of a bucket.
pub(crate) fn owners(bucket: &Path) -> Result<Vec<Owner>, StorageError> {
    let mut owners = Vec::new();
    for (name, file) in sorted(bucket)? {
        let Some(name) = name.strip_suffix('/') else {
            continue;
        };
        let path = bucket.join(&file);
        let used = count_and_tidy(&path)?;
        if used.objects == 0 {
            let _ = fs::remove_dir(&path);
        }
        owners.push(Owner {
            name: name.to_owned(),
            used,
        });
    }
    Ok(owners)
}
