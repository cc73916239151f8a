//! The store's part of a backup. It looks like the store's folder, but for layers of files, each of which is one file:
//! a backup may lie where files have no owners.

use std::fs;
use std::io;
use std::path::Path;

use super::store::ImageStore;
use super::tree_file;
use crate::cancel::Cancel;
use crate::disk::ranges;

/// In place of the folder `fs` of a layer.
const TREE: &str = "fs.tree";

impl ImageStore {
    /// Writes all images into this folder, which must not be there. Nothing may be taken out of the store meanwhile.
    pub fn back_up(&self, to: &Path, cancel: &Cancel) -> io::Result<()> {
        for folder in [to.to_owned(), to.join("images"), to.join("layers")] {
            fs::create_dir(folder)?;
        }
        // What is named later needs layers that may not be copied yet; so names come first, and layers last.
        copy_files(&self.dir, to, cancel)?;
        fs::remove_file(to.join("lock"))?;
        copy_files(&self.dir.join("images"), &to.join("images"), cancel)?;
        for layer in fs::read_dir(self.dir.join("layers"))? {
            let layer = layer?;
            let into = to.join("layers").join(layer.file_name());
            fs::create_dir(&into)?;
            copy_files(&layer.path(), &into, cancel)?;
            let owners = layer.path().join("owners");
            if owners.exists() {
                fs::create_dir(into.join("owners"))?;
                copy_files(&owners, &into.join("owners"), cancel)?;
            }
            let files = layer.path().join("fs");
            if files.exists() {
                tree_file::write(&files, &into.join(TREE), cancel)?;
            }
        }
        Ok(())
    }
}

/// Makes layers of files folders again, in a store's folder that comes from a backup.
pub fn restore(images: &Path) -> io::Result<()> {
    for layer in fs::read_dir(images.join("layers"))? {
        let layer = layer?.path();
        let tree = layer.join(TREE);
        if tree.exists() {
            tree_file::read(&tree, &layer.join("fs"))?;
            fs::remove_file(&tree)?;
        }
    }
    Ok(())
}

/// Copies the files of a folder, and not what is in its folders. One that has gone meanwhile is passed over.
pub(crate) fn copy_files(from: &Path, to: &Path, cancel: &Cancel) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        match ranges::copy(&entry.path(), &to.join(entry.file_name()), cancel) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Ok(())
}
