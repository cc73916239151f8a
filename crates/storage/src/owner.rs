//! All objects of one owner.

use crate::StorageError;
use crate::key::{Bucket, Key};
use crate::store::{List, ObjectStore};

/// Objects that are looked at in one go.
const PAGE: usize = 500;

/// Removes every object of an owner who is gone, in every bucket, and tells how many there were. Uploads that are under
/// way are not seen: they end by themselves.
///
/// # Errors
/// The first object that cannot be removed; asking again goes on behind what is gone.
pub async fn remove_all_of(store: &dyn ObjectStore, owner: &str) -> Result<usize, StorageError> {
    let mut count = 0;
    for bucket in Bucket::ALL {
        loop {
            let page = List {
                // With its slash: the names of two owners may begin alike.
                prefix: format!("{owner}/"),
                max: PAGE,
                ..List::default()
            };
            let found = store.list(*bucket, page).await?;
            for entry in &found.entries {
                if let Ok(key) = Key::new(*bucket, entry.path.clone())
                    && store.delete(&key).await?
                {
                    count += 1;
                }
            }
            // What the list does not show cannot be removed by it either, and nothing new is on the next page.
            if found.entries.is_empty() || found.next.is_none() {
                break;
            }
        }
    }
    Ok(count)
}
