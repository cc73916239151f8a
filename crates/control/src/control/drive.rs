//! Drives: volumes as clients of sessions see them.

use std::collections::BTreeMap;

use alcove_domain::session::{self, DriveMount, check_drive_bytes, check_drive_name};
use alcove_domain::{
    MountRequest, Permission, Reason, SandboxState, SortOrder, Volume, VolumeId, VolumeMount,
    check_mounts,
};

use super::Control;
use crate::sessions::Session;
use crate::volumes::{self, NewVolume};
use crate::{Caller, Error};

/// Drives on a page, at most and where the caller does not say.
const LIMIT_MAX: i64 = 50;
const LIMIT_DEFAULT: i64 = 20;

/// A drive, and the session that runs with it.
#[derive(Debug, Clone)]
pub struct Drive {
    pub volume: Volume,
    pub user: Option<Session>,
}

/// By what drives are in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DriveSort {
    #[default]
    CreatedAt,
    UpdatedAt,
    Name,
}

/// Which drives are asked for.
#[derive(Debug, Clone, Default)]
pub struct ListDrives {
    pub project: Option<String>,
    pub name_prefix: Option<String>,
    pub sort: Option<DriveSort>,
    pub order: Option<SortOrder>,
    pub limit: Option<i64>,
    pub cursor: Option<String>,
}

impl Control {
    /// The drive of this name, which is made if it is not there, and whether it was. One that is there keeps its size.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another project has one of this name.
    pub async fn get_or_create_drive(
        &self,
        caller: &Caller,
        project: String,
        name: &str,
        region: Option<&str>,
        max_bytes: Option<i64>,
    ) -> Result<(Drive, bool), Error> {
        caller.require(Permission::WriteVolumes)?;
        let mut reasons = Vec::new();
        check_drive_name(name, &mut reasons);
        let bytes = check_drive_bytes(max_bytes, self.shared.settings.volume_bytes, &mut reasons);
        Error::check(reasons)?;
        self.shared
            .region_with_runner(&caller.organization, region)?;
        let found = || self.get_drive(caller, Some(&project), name);
        match found().await {
            Err(Error::NotFound { .. }) => {}
            answer => return answer.map(|drive| (drive, false)),
        }
        let new = NewVolume {
            name: Some(name.to_owned()),
            bytes: Some(bytes),
            project: Some(project.clone()),
            source: None,
        };
        match volumes::create(&self.shared, caller, new).await {
            Ok(volume) => Ok((self.with_user(volume), true)),
            // Another project has it, or another caller came first.
            Err(Error::Invalid { code, .. }) if code == volumes::NAME_TAKEN => {
                match found().await {
                    Err(Error::NotFound { .. }) => Err(Error::Conflict {
                        message: format!("Another project has a drive of the name {name}"),
                        code: volumes::NAME_TAKEN,
                        state: None,
                    }),
                    answer => answer.map(|drive| (drive, false)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a drive with what this one holds at that moment, also while sandboxes write to it. It has the same size, and is
    /// of the same project.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is one of the new name.
    pub async fn fork_drive(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name_or_id: &str,
        new_name: &str,
    ) -> Result<Drive, Error> {
        caller.require(Permission::WriteVolumes)?;
        let mut reasons = Vec::new();
        check_drive_name(new_name, &mut reasons);
        Error::check(reasons)?;
        let source = self.get_drive(caller, project, name_or_id).await?.volume;
        let new = NewVolume {
            name: Some(new_name.to_owned()),
            bytes: Some(source.size_bytes),
            project: source.project,
            source: Some(source.id),
        };
        let made = volumes::create(&self.shared, caller, new).await;
        let volume = made.map_err(|error| match error {
            Error::Invalid { code, .. } if code == volumes::NAME_TAKEN => Error::Conflict {
                message: format!("There is a drive of the name {new_name}"),
                code: volumes::NAME_TAKEN,
                state: None,
            },
            error => error,
        })?;
        Ok(self.with_user(volume))
    }

    /// A drive by its name or id, in a project or in any.
    pub async fn get_drive(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name_or_id: &str,
    ) -> Result<Drive, Error> {
        caller.require(Permission::ReadVolumes)?;
        let not_found = || Error::NotFound {
            message: format!("Drive {name_or_id} not found"),
        };
        let found = volumes::by_id_or_name(&self.shared, &caller.organization, name_or_id).await;
        let volume = found.map_err(|error| match error {
            Error::NotFound { .. } => not_found(),
            error => error,
        })?;
        if is_in(&volume, project) {
            Ok(self.with_user(volume))
        } else {
            Err(not_found())
        }
    }

    /// One page of drives, and where the next begins.
    pub async fn list_drives(
        &self,
        caller: &Caller,
        list: ListDrives,
    ) -> Result<(Vec<Drive>, Option<String>), Error> {
        let limit = list.limit.unwrap_or(LIMIT_DEFAULT);
        let Some(limit) = usize::try_from(limit)
            .ok()
            .filter(|_| (1..=LIMIT_MAX).contains(&limit))
        else {
            return Err(Error::refused(vec![Reason::invalid(format!(
                "limit must be from 1 to {LIMIT_MAX}"
            ))]));
        };
        // There are never many: the quota is small, and each is a file on the host.
        let mut volumes = self.list_volumes(caller, false).await?;
        let prefix = list.name_prefix.unwrap_or_default();
        volumes.retain(|volume| {
            volume.state().holds_name()
                && is_in(volume, list.project.as_deref())
                && volume.name.starts_with(&prefix)
        });
        match list.sort.unwrap_or_default() {
            DriveSort::CreatedAt => volumes.sort_by_key(|one| (one.created_at, one.id.clone())),
            DriveSort::UpdatedAt => volumes.sort_by_key(|one| (one.updated_at, one.id.clone())),
            DriveSort::Name => volumes.sort_by(|one, other| one.name.cmp(&other.name)),
        }
        if list.order != Some(SortOrder::Ascending) {
            volumes.reverse();
        }
        let begin = match &list.cursor {
            None => 0,
            Some(cursor) => {
                let at = volumes
                    .iter()
                    .position(|volume| volume.id.as_str() == cursor);
                at.ok_or_else(|| Error::refused(vec![Reason::invalid("cursor leads nowhere")]))? + 1
            }
        };
        let page: Vec<Volume> = volumes.drain(begin..).collect();
        let has_more = page.len() > limit;
        let page: Vec<Volume> = page.into_iter().take(limit).collect();
        let next = page.last().map(|volume| volume.id.to_string());
        let drives = page.into_iter().map(|volume| self.with_user(volume));
        Ok((drives.collect(), next.filter(|_| has_more)))
    }

    /// Deletes a drive with all that is in it; gives what it was.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a sandbox that is not deleted mounts it, whatever its state.
    pub async fn delete_drive(
        &self,
        caller: &Caller,
        project: Option<&str>,
        name: &str,
    ) -> Result<Drive, Error> {
        let drive = self.get_drive(caller, project, name).await?;
        self.delete_volume(caller, drive.volume.id.as_str()).await?;
        Ok(drive)
    }

    /// The mounts of a new sandbox, given as drives by the paths where they are to be.
    pub(super) async fn mount_drives(
        &self,
        caller: &Caller,
        project: &str,
        drives: &BTreeMap<String, DriveMount>,
    ) -> Result<Vec<MountRequest>, Error> {
        let mut ids: BTreeMap<String, VolumeId> = BTreeMap::new();
        for DriveMount { name, .. } in drives.values() {
            if !ids.contains_key(name) {
                let drive = self.get_drive(caller, Some(project), name).await?;
                ids.insert(name.clone(), drive.volume.id);
            }
        }
        let mut reasons = Vec::new();
        let mounts = session::mounts(drives, &ids, &mut reasons);
        Error::check(reasons)?;
        Ok(mounts)
    }

    /// The same for a sandbox that is there, as its volumes.
    pub(super) async fn resolve_drives(
        &self,
        caller: &Caller,
        project: &str,
        drives: &BTreeMap<String, DriveMount>,
    ) -> Result<Vec<VolumeMount>, Error> {
        let requests = self.mount_drives(caller, project, drives).await?;
        let mut reasons = Vec::new();
        check_mounts(&requests, &mut reasons);
        Error::check(reasons)?;
        volumes::resolve(&self.shared, &caller.organization, &requests).await
    }

    fn with_user(&self, volume: Volume) -> Drive {
        let entries = self.shared.directory.entries();
        let user = entries.iter().map(|entry| entry.sandbox()).find(|sandbox| {
            let mut mounts = sandbox.volumes.iter();
            sandbox.state() == SandboxState::Started
                && mounts.any(|mount| mount.volume == volume.id)
        });
        Drive {
            user: user.map(Session::of),
            volume,
        }
    }
}

/// Whether a caller who works in this project sees the drive. One that no client of sessions made is in all of them.
fn is_in(volume: &Volume, project: Option<&str>) -> bool {
    match (&volume.project, project) {
        (Some(own), Some(project)) => own == project,
        _ => true,
    }
}
