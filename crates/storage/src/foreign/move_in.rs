//! Objects that the folder holds from the time before, on their way into the bucket.
//!
//! Each goes from the folder only when it is in the bucket, so the next start goes on where this one ended.

use super::ForeignStore;
use crate::folder::header::Said;
use crate::{Bucket, Key, List, ObjectStore as _, StorageError};

/// Objects that are looked at in one step.
const PAGE: usize = 500;

impl ForeignStore {
    /// Brings what the folder holds into the bucket. What is there under the same name and was written later stays.
    /// Tells how many objects went.
    pub async fn move_in(&self) -> Result<u64, StorageError> {
        let mut count = 0;
        for bucket in Bucket::ALL {
            let mut after = None;
            loop {
                let list = List {
                    after,
                    max: PAGE,
                    ..List::default()
                };
                let page = self.shared.staging.list(*bucket, list).await?;
                for entry in page.entries {
                    self.move_one(&Key::new(*bucket, entry.path)?).await?;
                    count += 1;
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(count)
    }

    async fn move_one(&self, key: &Key) -> Result<(), StorageError> {
        let staging = &self.shared.staging;
        let Some((sealed, object)) = staging.sealed(key).await? else {
            return Ok(());
        };
        self.shared.count(key).await?;
        let newer = self.head(key).await?;
        if newer.is_none_or(|there| there.modified < object.modified) {
            let said = Said {
                content_type: object.content_type,
                metadata: object.metadata,
            };
            self.shared.publish(key, sealed, said, false).await?;
        }
        staging.delete(key).await?;
        Ok(())
    }
}
