//! What clients uploaded for their builds, read out of the object storage by the runner.

use std::io::{self, Read};
use std::sync::Arc;

use alcove_runner::ContextSource;
use alcove_storage::{Body, Bucket, Key, ObjectStore};
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;

/// The contexts of all organizations. Read on threads that may block.
#[derive(Debug)]
pub struct StoredContexts {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

impl StoredContexts {
    /// Must be called within a runtime, which does the reading.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            runtime: Handle::current(),
        }
    }
}

impl ContextSource for StoredContexts {
    fn open(&self, organization: &str, key: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        // What is no name of an object was not uploaded.
        let Ok(key) = Key::new(
            Bucket::CONTEXTS,
            format!("{organization}/{key}/context.tar"),
        ) else {
            return Ok(None);
        };
        let found = self.runtime.block_on(self.store.get(&key, None));
        let found = found.map_err(io::Error::other)?;
        Ok(found.map(|content| -> Box<dyn Read + Send> {
            Box::new(Pieces {
                runtime: self.runtime.clone(),
                body: content.body,
                piece: Bytes::new(),
            })
        }))
    }
}

/// A body that is read by who may block.
struct Pieces {
    runtime: Handle,
    body: Body,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.body.next()) {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use alcove_storage::{FolderStore, Limits, PutOptions, body_of};

    use super::*;

    #[tokio::test]
    async fn a_context_is_read_by_its_organization_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path(), Limits::default()).await;
        let store = store.unwrap();
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(3 << 20).collect();
        let key = Key::new(Bucket::CONTEXTS, "mine/abc/context.tar").unwrap();
        let put = store.put(&key, body_of(content.clone()), PutOptions::default());
        put.await.unwrap();
        let contexts = StoredContexts::new(Arc::new(store));
        let read = move || {
            let mut read = Vec::new();
            let found = contexts.open("mine", "abc").unwrap().unwrap();
            { found }.read_to_end(&mut read).unwrap();
            for (organization, key) in [("other", "abc"), ("mine", "abd"), ("mine", "../x")] {
                assert!(contexts.open(organization, key).unwrap().is_none());
            }
            read
        };
        assert!(tokio::task::spawn_blocking(read).await.unwrap() == content);
    }
}
