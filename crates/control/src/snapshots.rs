//! Snapshots: found, listed, and registered from the runner's images; made and changed in the modules below.

pub(crate) mod driver;
pub(crate) mod general;
pub(crate) mod retention;
pub(crate) mod tree;
pub(crate) mod wishes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use alcove_domain::{
    OffsetPage, OrganizationId, SandboxClass, Snapshot, SnapshotFilter, SnapshotId, SnapshotSort,
    SnapshotState, SortOrder,
};
use alcove_runner_api::ImageEntry;
use jiff::Timestamp;

use crate::list::{Page, page_count};
use crate::rng::uuid_v4;
use crate::shared::{Shared, lock};
use crate::uses::Uses;
use crate::{Error, ListSnapshots};

pub(crate) use self::driver::SnapshotDrivers;

/// What begins with it is a name that no user can give: of a sandbox's image, or of a build's.
const OWN_NAMES: char = '+';

/// Lookups kept in memory; a full cache starts anew.
const CACHED_MAX: usize = 1024;

/// What names lead to, so that a create reads no database. Whoever writes a snapshot clears it.
#[derive(Default)]
pub(crate) struct SnapshotCache {
    found: Mutex<HashMap<(OrganizationId, String), Arc<Snapshot>>>,
    pub used: Uses<SnapshotId>,
}

impl SnapshotCache {
    pub fn clear(&self) {
        lock(&self.found).clear();
    }

    pub fn note_use(&self, id: &SnapshotId, at: Timestamp) {
        self.used.note(id.clone(), at);
    }
}

impl Shared {
    pub async fn find_snapshot(
        &self,
        org: &OrganizationId,
        id_or_name: &str,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let key = (org.clone(), id_or_name.to_owned());
        if let Some(snapshot) = lock(&self.snapshots.found).get(&key) {
            return Ok(Some(Arc::clone(snapshot)));
        }
        let found = self
            .store
            .reader()
            .snapshot_find(org, id_or_name)
            .await
            .map_err(|error| Error::store("looking for a snapshot", error))?
            .map(Arc::new);
        // Only what a create will look at again before it trusts it: any other state ends soon, and its end may be
        // written before this one gets into the cache.
        if let Some(snapshot) = found
            .as_ref()
            .filter(|snapshot| snapshot.state == SnapshotState::Active)
        {
            let mut cache = lock(&self.snapshots.found);
            if cache.len() >= CACHED_MAX {
                cache.clear();
            }
            cache.insert(key, Arc::clone(snapshot));
        }
        Ok(found)
    }

    pub async fn list_snapshots(
        &self,
        org: &OrganizationId,
        list: ListSnapshots,
    ) -> Result<OffsetPage<Snapshot>, Error> {
        let page = Page::parse(list.page, list.limit)?;
        let filter = SnapshotFilter {
            name_part: list.name.filter(|part| !part.is_empty()),
            source_sandbox: list.source_sandbox_id,
            of_sandboxes: list.of_sandboxes,
            project: list.project,
            parent: None,
            created_after: list.created_after,
            created_before: list.created_before,
        };
        let (items, total) = self
            .store
            .reader()
            .snapshot_list(
                org,
                &filter,
                list.sort.unwrap_or(SnapshotSort::LastUsedAt),
                list.order.unwrap_or(SortOrder::Descending),
                page.offset(),
                page.limit,
            )
            .await
            .map_err(|error| Error::store("listing snapshots", error))?;
        Ok(OffsetPage {
            items: items.into_iter().map(|item| item.seen_by(org)).collect(),
            total,
            page: page.number,
            total_pages: page_count(total, page.limit),
        })
    }

    /// Makes a general snapshot of each image that the runner has, and keeps those in line.
    pub async fn register_images(&self, images: &[ImageEntry]) -> Result<(), Error> {
        let failed = |error| Error::store("registering the runner's images", error);
        // One without a name, or with a name of ours, is somebody's snapshot and not everybody's.
        let is_general =
            |image: &&ImageEntry| !image.name.is_empty() && !image.name.starts_with(OWN_NAMES);
        for image in images.iter().filter(is_general) {
            let known = self
                .store
                .reader()
                .snapshot_find_general(&image.name)
                .await
                .map_err(failed)?;
            let now = self.clock.now();
            let wanted = Snapshot {
                id: known.as_ref().map_or_else(
                    || SnapshotId::from_uuid(uuid_v4(&*self.rng)),
                    |known| known.id.clone(),
                ),
                organization_id: None,
                is_shared: false,
                name: image.name.clone(),
                image_name: None,
                image: image.digest.0.clone(),
                state: SnapshotState::Active,
                size_bytes: Some(image.size_bytes),
                entrypoint: image.entrypoint.clone(),
                has_own_entrypoint: false,
                user: image.user.clone(),
                resources: self.settings.default_resources,
                class: SandboxClass::Container,
                error_reason: None,
                source_sandbox_id: None,
                created_at: known.as_ref().map_or(now, |known| known.created_at),
                updated_at: known.as_ref().map_or(now, |known| known.updated_at),
                last_used_at: known.as_ref().and_then(|known| known.last_used_at),
                deactivated_at: None,
                build_key: None,
                expires_at: None,
                lineage: None,
            };
            if known.as_ref() == Some(&wanted) {
                continue;
            }
            let tx = self.store.begin().await.map_err(failed)?;
            match known {
                None => tx.snapshot_insert(&wanted).await,
                Some(_) => {
                    tx.snapshot_update(&Snapshot {
                        updated_at: now,
                        ..wanted.clone()
                    })
                    .await
                }
            }
            .map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            self.note_snapshot_written();
            // The image that had the name before may be nobody's now.
            self.images.note_release();
            tracing::info!(
                snapshot.name = wanted.name,
                image.digest = wanted.image,
                "registered the image {} as a snapshot",
                wanted.name
            );
        }
        Ok(())
    }
}
