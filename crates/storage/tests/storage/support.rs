//! A store in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use alcove_storage::{
    Body, Bucket, FolderStore, Key, Limits, Object, ObjectStore as _, PutOptions, body_of,
};
use futures_util::TryStreamExt as _;
use tempfile::TempDir;

pub struct TestFolder {
    pub store: FolderStore,
    folder: TempDir,
    limits: Limits,
}

impl TestFolder {
    pub async fn open() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path(), limits.clone())
            .await
            .unwrap();
        Self {
            store,
            folder,
            limits,
        }
    }

    /// As the next process finds it.
    pub async fn reopen(self) -> Self {
        drop(self.store);
        let store = FolderStore::open(self.folder.path(), self.limits.clone())
            .await
            .unwrap();
        Self { store, ..self }
    }

    pub async fn put(&self, path: &str, content: &str) -> Object {
        self.store
            .put(
                &key(path),
                body_of(content.to_owned()),
                PutOptions::default(),
            )
            .await
            .unwrap()
    }

    pub async fn text(&self, path: &str) -> Option<String> {
        let content = self.store.get(&key(path), None).await.unwrap()?;
        Some(text_of(content.body).await)
    }

    pub fn used(&self) -> u64 {
        self.store.used_bytes(Bucket::CONTEXTS, "org")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Files and folders that stand in one of the folders, however deep.
    pub fn left(&self, folder: &str) -> Vec<PathBuf> {
        below(self.folder.path().join(folder))
    }
}

pub fn below(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(path.clone()));
        }
        found.push(path);
    }
    found
}

pub fn key(path: &str) -> Key {
    Key::new(Bucket::CONTEXTS, path).unwrap()
}

pub async fn bytes_of(body: Body) -> Vec<u8> {
    let pieces: Vec<bytes::Bytes> = body.try_collect().await.unwrap();
    pieces.concat()
}

pub async fn text_of(body: Body) -> String {
    String::from_utf8(bytes_of(body).await).unwrap()
}
