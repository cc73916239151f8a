//! Taking away blobs that no manifest needs.
//!
//! A blob is pushed before the manifest that names it, so it is left alone for a while after it was pushed or looked for.
//! A manifest that is put makes all that it names young first (see `manifests.rs`), and a blob goes only if it is still
//! old at that moment. So neither misses the other, and nothing has to be locked meanwhile. What a kill cuts short is
//! found again by the next round.

use std::collections::BTreeSet;
use std::time::SystemTime;

use axum::body::Body;
use serde::Deserialize;

use super::Registry;
use super::manifests::MANIFEST_MAX_BYTES;
use super::name::{BLOBS, Digest, MANIFESTS};
use crate::{Bucket, Key, List, StorageError};

/// Objects that are looked at in one step.
const PAGE: usize = 500;

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectedBlobs {
    pub blobs: u64,
    pub bytes: u64,
}

/// All that a manifest or an index may name.
#[derive(Debug, Deserialize)]
struct Names {
    config: Option<Named>,
    #[serde(default)]
    layers: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    digest: String,
}

impl Registry {
    /// Removes the blobs that no manifest of their organization names, and that nobody has pushed or looked for since
    /// `before`. Of an organization with a manifest that cannot be read, nothing is removed.
    pub async fn collect(&self, before: SystemTime) -> Result<CollectedBlobs, StorageError> {
        let mut collected = CollectedBlobs::default();
        let mut after = None;
        loop {
            let page = self.page(String::new(), after, true).await?;
            for owner in page.folders {
                self.collect_of(&owner, before, &mut collected).await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(collected),
            }
        }
    }

    /// `owner` ends in a slash.
    async fn collect_of(
        &self,
        owner: &str,
        before: SystemTime,
        collected: &mut CollectedBlobs,
    ) -> Result<(), StorageError> {
        let Some(needed) = self.needed(owner).await? else {
            tracing::error!("{owner} has a manifest that cannot be read: no blob of it goes");
            return Ok(());
        };
        let prefix = format!("{owner}{BLOBS}/");
        let mut after = None;
        loop {
            let page = self.page(prefix.clone(), after, false).await?;
            for entry in page.entries {
                let is_needed = entry
                    .path
                    .strip_prefix(&prefix)
                    .is_none_or(|hex| needed.contains(hex));
                if is_needed || entry.object.modified >= before {
                    continue;
                }
                let key = Key::new(Bucket::REGISTRY, entry.path)?;
                // A push may have counted on it since the list was made.
                if self.store.delete_older(&key, before).await? {
                    collected.blobs += 1;
                    collected.bytes += entry.object.size;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Hex digits of all blobs that manifests of an owner name. None if one cannot be read.
    async fn needed(&self, owner: &str) -> Result<Option<BTreeSet<String>>, StorageError> {
        let mut needed = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self
                .page(format!("{owner}{MANIFESTS}/"), after, false)
                .await?;
            if page.damaged > 0 {
                return Ok(None);
            }
            for entry in page.entries {
                let key = Key::new(Bucket::REGISTRY, entry.path)?;
                let content = match self.store.get(&key, None).await {
                    Ok(Some(content)) => content,
                    // One that was removed meanwhile needs nothing.
                    Ok(None) => continue,
                    Err(StorageError::Damaged { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let body = Body::from_stream(content.body);
                let Ok(text) = axum::body::to_bytes(body, MANIFEST_MAX_BYTES).await else {
                    return Ok(None);
                };
                let Ok(names) = serde_json::from_slice::<Names>(&text) else {
                    return Ok(None);
                };
                for named in names.layers.into_iter().chain(names.config) {
                    // What has no digest of ours has its place elsewhere.
                    if let Ok(digest) = Digest::parse(&named.digest) {
                        needed.insert(digest.hex());
                    }
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(Some(needed)),
            }
        }
    }

    async fn page(
        &self,
        prefix: String,
        after: Option<String>,
        by_folder: bool,
    ) -> Result<crate::Listing, StorageError> {
        let list = List {
            prefix,
            after,
            max: PAGE,
            by_folder,
        };
        self.store.list(Bucket::REGISTRY, list).await
    }
}
