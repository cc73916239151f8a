//! Pages of lists, in the order of our paths.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectMeta;
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};

use super::remote::Remote;
use crate::folder::header::HEADER_BYTES;
use crate::folder::ledger::Use;
use crate::{Bucket, Entry, List, Listing, StorageError};

/// Names that a store tells at once, as S3 has it.
const PAGE: usize = 1000;
/// Headers that are read beside each other.
const READERS: usize = 16;

/// What is read of an object on a list.
enum Read {
    There(Entry),
    Damaged,
    /// Removed since the store told of it.
    Gone,
}

impl Remote {
    pub async fn list(&self, bucket: Bucket, list: &List) -> Result<Listing, StorageError> {
        let mut listing = Listing::default();
        if list.max == 0 {
            return Ok(listing);
        }
        let beginning = self.names.beginning(bucket, &list.prefix);
        let mut options = PaginatedListOptions {
            offset: self.offset(bucket, list),
            delimiter: list.by_folder.then_some("/".into()),
            max_keys: Some(list.max.min(PAGE)),
            ..PaginatedListOptions::default()
        };
        loop {
            let page = self
                .store
                .list_paginated(Some(&beginning), options.clone())
                .await
                .map_err(self.failed("list objects"))?;
            let folders = page.result.common_prefixes.iter();
            let folders: Vec<String> = folders
                .filter_map(|name| self.names.path(bucket, name.as_ref()))
                .map(|folder| format!("{folder}/"))
                .collect();
            let objects: Vec<(String, ObjectMeta)> = page
                .result
                .objects
                .into_iter()
                .filter_map(|meta| Some((self.names.path(bucket, meta.location.as_ref())?, meta)))
                .filter(|(path, _)| list.after.as_ref().is_none_or(|after| path > after))
                .collect();
            let paths = objects.iter().map(|(path, _)| path);
            if let Some(end) = paths.chain(&folders).max() {
                listing.next = page.page_token.is_some().then(|| end.clone());
            } else if page.page_token.is_some() {
                // A page of names that are not ours.
                options.page_token = page.page_token;
                continue;
            }
            listing.folders = folders;
            let mut read: Vec<Read> = stream::iter(objects)
                .map(|(path, meta)| self.read(path, meta))
                .buffered(READERS)
                .try_collect()
                .await?;
            for read in read.drain(..) {
                match read {
                    Read::There(entry) => listing.entries.push(entry),
                    Read::Damaged => listing.damaged += 1,
                    Read::Gone => {}
                }
            }
            return Ok(listing);
        }
    }

    /// Behind which name a list begins. Stores differ in whether a folder is told of that holds the name, so it never is
    /// one within a folder.
    fn offset(&self, bucket: Bucket, list: &List) -> Option<String> {
        let after = list.after.as_deref()?;
        let within = after.strip_prefix(list.prefix.as_str());
        let slash = within
            .filter(|_| list.by_folder)
            .and_then(|path| path.find('/'));
        Some(
            match slash.map(|at| after.split_at(list.prefix.len() + at + 1)) {
                None => self.names.beginning(bucket, after),
                Some((folder, "")) => self.names.behind_folder(bucket, folder),
                // There may be more of it.
                Some((folder, _)) => self.names.before_folder(bucket, folder),
            },
        )
    }

    async fn read(&self, path: String, meta: ObjectMeta) -> Result<Read, StorageError> {
        if meta.size < HEADER_BYTES {
            tracing::error!(name = %meta.location, "an object is damaged: its header is cut off");
            return Ok(Read::Damaged);
        }
        match self.header(&meta.location).await {
            Ok(Some((object, _))) => Ok(Read::There(Entry { path, object })),
            Ok(None) => Ok(Read::Gone),
            Err(StorageError::Damaged { what }) => {
                tracing::error!(name = %meta.location, "an object is damaged: {what}");
                Ok(Read::Damaged)
            }
            Err(error) => Err(error),
        }
    }

    /// Counts what an owner has in a bucket.
    pub async fn count(&self, bucket: Bucket, owner: &str) -> Result<Use, StorageError> {
        let beginning = self.names.beginning(bucket, &format!("{owner}/"));
        let mut used = Use::default();
        let mut options = PaginatedListOptions::default();
        loop {
            let page = self
                .store
                .list_paginated(Some(&beginning), options.clone())
                .await
                .map_err(self.failed("count objects"))?;
            for meta in page.result.objects {
                used.objects += 1;
                used.bytes += meta.size.saturating_sub(HEADER_BYTES);
            }
            match page.page_token {
                Some(token) => options.page_token = Some(token),
                None => return Ok(used),
            }
        }
    }
}
