//! Folders that outlive builds: `RUN --mount=type=cache`.
//!
//! A cache is an image of a file system of its own, as a volume is: its size is a hard limit, and its files are its
//! organization's, never looked at by the host. It is found by the organization and the id, so nobody else's step sees
//! it. The least recently used ones go when there is too much of them.

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use alcove_build::Sharing;
use alcove_domain::VolumeId;
use alcove_runner_api::VolumeMount;
use rustix::fs::{AtFlags, Gid, Mode, Uid, chmod, chownat};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::image::Sha256Digest;
use crate::mounts::{MountedDisk, VolumePlan};
use crate::volumes::{VolumeError, Volumes};

/// Largest cache: as much as the disk of a step.
const CACHE_BYTES: u64 = 10 << 30;

/// Most that all caches of an organization may take on the host's disk.
const ORGANIZATION_MAX_BYTES: u64 = 10 << 30;

/// Most that all caches may take.
const ALL_MAX_BYTES: u64 = 50 << 30;

/// Most caches; each is a file.
const CACHES_MAX: usize = 1000;

/// Times that a cache is made anew which goes while it begins to be used.
const ATTEMPTS: usize = 3;

/// Most caches of one id that are in use at the same time and not shared.
const PRIVATE_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot give a cache its owner and mode")]
    Dress(#[source] std::io::Error),
    #[error("too many steps use the cache {id:?}")]
    TooMany { id: String },
    #[error("the build was cancelled")]
    Cancelled,
}

/// What a step asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub organization: &'a str,
    pub id: &'a str,
    pub sharing: Sharing,
    /// Of a cache that is made now.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug)]
pub struct Caches {
    volumes: Volumes,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Steps that use a cache, by its name.
    uses: HashMap<String, usize>,
    turns: HashMap<String, Arc<Turn<()>>>,
}

/// A cache that a step uses.
#[derive(Debug)]
pub struct Held {
    pub folder: Arc<OwnedFd>,
    disk: Option<MountedDisk>,
    name: String,
    state: Arc<Mutex<State>>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(count) = state.uses.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                state.uses.remove(&self.name);
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Caches {
    pub fn new(volumes: Volumes) -> Self {
        Self {
            volumes,
            state: Arc::default(),
        }
    }

    /// A cache for a step, made if it is not there. One that is locked is waited for.
    pub async fn take(
        &self,
        wanted: &Wanted<'_>,
        held: &[Held],
        cancel: &CancellationToken,
    ) -> Result<Held, CacheError> {
        let name = self.choose(wanted)?;
        let mut guard = Use {
            state: self.state.clone(),
            name: Some(name.clone()),
        };
        // A step that mounts one cache twice must not wait for itself.
        let is_ours = held.iter().any(|held| held.name == name);
        let turn = if wanted.sharing == Sharing::Locked && !is_ours {
            let turn = {
                let mut state = lock(&self.state);
                state.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
                state.turns.entry(name.clone()).or_default().clone()
            };
            tokio::select! {
                turn = turn.lock_owned() => Some(turn),
                () = cancel.cancelled() => return Err(CacheError::Cancelled),
            }
        } else {
            None
        };
        let (folder, disk) = self.mount(&name, wanted).await?;
        guard.name = None;
        Ok(Held {
            folder: Arc::new(folder),
            disk: Some(disk),
            name,
            state: self.state.clone(),
            _turn: turn,
        })
    }

    /// The name of the cache, which counts as used from now on.
    fn choose(&self, wanted: &Wanted<'_>) -> Result<String, CacheError> {
        let mut state = lock(&self.state);
        let name = match wanted.sharing {
            Sharing::Shared | Sharing::Locked => Some(name_of(wanted.organization, wanted.id, 0)),
            Sharing::Private => (0..PRIVATE_MAX)
                .map(|number| name_of(wanted.organization, wanted.id, number))
                .find(|name| !state.uses.contains_key(name)),
        };
        let name = name.ok_or_else(|| CacheError::TooMany {
            id: wanted.id.to_owned(),
        })?;
        *state.uses.entry(name.clone()).or_default() += 1;
        Ok(name)
    }

    async fn mount(
        &self,
        name: &str,
        wanted: &Wanted<'_>,
    ) -> Result<(OwnedFd, MountedDisk), CacheError> {
        let volume: VolumeId = name.parse().map_err(|_| VolumeError::Ended)?;
        let mount = [VolumeMount {
            volume: volume.clone(),
            mount_path: "/".to_owned(),
            subpath: None,
            is_read_only: false,
        }];
        let mut attempts = 0;
        let (is_new, plans) = loop {
            let is_new = self.volumes.ensure(&volume, CACHE_BYTES).await?;
            self.volumes.note_use(&volume);
            attempts += 1;
            match self.volumes.attach(&mount).await {
                // It was just being removed when it began to be used.
                Err(VolumeError::Missing { .. }) if attempts < ATTEMPTS => {}
                attached => break (is_new, attached?),
            }
        };
        let Some(VolumePlan { disk, folder, .. }) = plans.into_iter().next() else {
            return Err(VolumeError::Ended.into());
        };
        if is_new && let Err(error) = dress(&folder, wanted) {
            self.volumes.release(vec![disk]).await;
            return Err(CacheError::Dress(error));
        }
        Ok((folder, disk))
    }

    /// Takes caches out of the scratch: a root that was made with them keeps them.
    pub async fn unmount(&self, held: &mut [Held]) {
        let disks = held.iter_mut().filter_map(|held| held.disk.take());
        self.volumes.release(disks.collect()).await;
    }

    /// Removes what is too much.
    pub async fn tidy(&self) {
        let found: Vec<Found> = self
            .volumes
            .images()
            .into_iter()
            .map(|(name, bytes, used)| Found {
                is_in_use: lock(&self.state).uses.contains_key(&name),
                name,
                bytes,
                used,
            })
            .collect();
        for name in surplus(found) {
            let Ok(volume) = name.parse::<VolumeId>() else {
                continue;
            };
            match self.volumes.remove(&volume).await {
                Ok(()) => tracing::info!(cache.name = name, "removed a cache of builds"),
                Err(error) => tracing::warn!(%error, "cannot remove a cache of builds"),
            }
        }
    }
}

/// Counts a use that does not come about.
struct Use {
    state: Arc<Mutex<State>>,
    name: Option<String>,
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let mut state = lock(&self.state);
            if let Some(count) = state.uses.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    state.uses.remove(&name);
                }
            }
        }
    }
}

/// Through the descriptor: whatever the folder's name leads to by now does not matter.
fn dress(folder: &OwnedFd, wanted: &Wanted<'_>) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    chownat(folder, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    chmod(Path::new(&path), Mode::from_raw_mode(wanted.mode))?;
    Ok(())
}

/// Which organization a cache is of stands at the beginning of its name.
fn name_of(organization: &str, id: &str, number: usize) -> String {
    let short =
        |text: &str, digits: usize| Sha256Digest::of(text.as_bytes()).to_hex()[..digits].to_owned();
    format!("{}-{}-{number}", short(organization, 16), short(id, 32))
}

/// A cache that is there.
#[derive(Debug, Clone)]
struct Found {
    name: String,
    /// On the host's disk.
    bytes: u64,
    used: SystemTime,
    is_in_use: bool,
}

/// Which caches go: the least recently used of an organization that has too much, and of all.
fn surplus(mut found: Vec<Found>) -> Vec<String> {
    found.sort_by_key(|cache| std::cmp::Reverse(cache.used));
    let mut of_organizations: HashMap<String, u64> = HashMap::new();
    let (mut bytes, mut count) = (0_u64, 0_usize);
    let mut going = Vec::new();
    for cache in found {
        let owner = cache.name.split('-').next().unwrap_or_default();
        let own = of_organizations.entry(owner.to_owned()).or_default();
        let is_too_much = *own + cache.bytes > ORGANIZATION_MAX_BYTES
            || bytes + cache.bytes > ALL_MAX_BYTES
            || count >= CACHES_MAX;
        if is_too_much && !cache.is_in_use {
            going.push(cache.name);
            continue;
        }
        *own += cache.bytes;
        bytes += cache.bytes;
        count += 1;
    }
    going
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn found(organization: &str, id: &str, gib: u64, age: u64, is_in_use: bool) -> Found {
        Found {
            name: name_of(organization, id, 0),
            bytes: gib << 30,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age),
            is_in_use,
        }
    }

    #[test]
    fn caches_of_others_and_of_other_ids_have_other_names() {
        let names = [
            name_of("a", "x", 0),
            name_of("b", "x", 0),
            name_of("a", "y", 0),
            name_of("a", "x", 1),
        ];
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert!(names.iter().all(|name| name.parse::<VolumeId>().is_ok()));
    }

    #[test]
    fn the_least_recently_used_go_where_there_is_too_much() {
        let mut all = vec![
            found("a", "new", 4, 1, false),
            found("a", "old", 7, 9, false),
            found("a", "used", 3, 10, true),
            found("b", "other", 6, 20, false),
        ];
        assert_eq!(surplus(all.clone()), [name_of("a", "old", 0)]);
        // One in use stays, however old.
        all[0].bytes = 9 << 30;
        assert_eq!(surplus(all.clone()), [name_of("a", "old", 0)]);
        for number in 0..5 {
            all.push(found(&format!("c{number}"), "x", 9, 2, false));
        }
        let going = surplus(all);
        assert!(
            going.contains(&name_of("b", "other", 0)),
            "of all there is too much: {going:?}"
        );
    }

    #[test]
    fn there_is_a_largest_number_of_them() {
        let many: Vec<Found> = (0..CACHES_MAX as u64 + 3)
            .map(|number| found(&format!("{number}"), "x", 0, number % 1000, false))
            .collect();
        assert_eq!(surplus(many).len(), 3);
    }
}
