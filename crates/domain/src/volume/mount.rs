//! Where volumes are mounted in a sandbox.

use crate::{Reason, VolumeId};

/// Volumes that one sandbox may mount.
pub const MOUNTS_MAX: usize = 32;
/// Longest mount path and longest subpath, in bytes. The kernel takes less than 4096 for a whole path.
pub const PATH_MAX_BYTES: usize = 1024;
/// Longest part of a path, in bytes, as ext4 has it.
const PART_MAX_BYTES: usize = 255;

/// Where nothing may be mounted: what a sandbox cannot run without, and what its own mounts are on.
const RESERVED: [&str; 9] = [
    "/proc", "/sys", "/dev", "/boot", "/etc", "/bin", "/sbin", "/lib", "/lib64",
];

/// A mount as a caller wrote it; nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// Id or name of a volume.
    pub volume: String,
    pub mount_path: String,
    /// A folder of the volume to be mounted instead of the whole.
    pub subpath: Option<String>,
    /// Whether the sandbox may only read it.
    pub is_read_only: bool,
}

/// A volume in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    pub volume: VolumeId,
    pub mount_path: String,
    pub subpath: Option<String>,
    pub is_read_only: bool,
}

/// Checks the paths of all mounts of a sandbox.
pub fn check_mounts(mounts: &[MountRequest], reasons: &mut Vec<Reason>) {
    if mounts.len() > MOUNTS_MAX {
        reasons.push(Reason::invalid(format!(
            "a sandbox mounts at most {MOUNTS_MAX} volumes"
        )));
        return;
    }
    for mount in mounts {
        if mount.volume.is_empty() {
            reasons.push(Reason::invalid("volumeId should not be empty"));
        }
        if let Err(problem) = check_mount_path(&mount.mount_path) {
            let path = &mount.mount_path;
            reasons.push(Reason::invalid(format!(
                "Invalid mount path {path}: {problem}"
            )));
        }
        let subpath = mount.subpath.as_deref().unwrap_or_default();
        if let Err(problem) = check_subpath(subpath) {
            reasons.push(Reason::invalid(format!(
                "Invalid subpath {subpath}: {problem}"
            )));
        }
    }
    for (index, mount) in mounts.iter().enumerate() {
        let path = without_slash(&mount.mount_path);
        let others = mounts.iter().enumerate().filter(|(at, _)| *at != index);
        for (other_index, other) in others {
            let other = without_slash(&other.mount_path);
            // Of two that are the same, one message is enough.
            if (path == other && index > other_index) || is_below(path, other) {
                reasons.push(Reason::invalid(format!(
                    "Invalid mount path {path}: another volume is mounted at {other}"
                )));
            }
        }
    }
}

impl MountRequest {
    /// The mount of the volume that the request turned out to mean.
    pub fn resolve(&self, volume: VolumeId) -> VolumeMount {
        VolumeMount {
            volume,
            is_read_only: self.is_read_only,
            mount_path: without_slash(&self.mount_path).to_owned(),
            subpath: self
                .subpath
                .as_deref()
                .map(without_slash)
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
        }
    }
}

/// One slash at the end is no empty part: people write folders like this.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn check_mount_path(path: &str) -> Result<(), &'static str> {
    let Some(parts) = path.strip_prefix('/') else {
        return Err("it must be absolute");
    };
    if parts.is_empty() {
        return Err("it must not be the root");
    }
    check_parts(parts)?;
    if RESERVED
        .iter()
        .any(|reserved| path == *reserved || is_below(path, reserved))
    {
        return Err("it must not be in a folder of the system");
    }
    Ok(())
}

fn check_subpath(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Ok(());
    }
    if path.starts_with('/') {
        return Err("it must be relative");
    }
    check_parts(path)
}

fn check_parts(path: &str) -> Result<(), &'static str> {
    if path.len() > PATH_MAX_BYTES {
        return Err("it is too long");
    }
    if path.contains('\0') {
        return Err("it must not contain a null character");
    }
    for part in without_slash(path).split('/') {
        match part {
            "" => return Err("it must not contain an empty part"),
            "." | ".." => return Err("it must not contain . or .. as a part"),
            long if long.len() > PART_MAX_BYTES => return Err("a part of it is too long"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(mount_path: &str, subpath: Option<&str>) -> MountRequest {
        MountRequest {
            volume: "data".to_owned(),
            mount_path: mount_path.to_owned(),
            subpath: subpath.map(str::to_owned),
            is_read_only: false,
        }
    }

    fn reasons(mounts: &[MountRequest]) -> Vec<String> {
        let mut reasons = Vec::new();
        check_mounts(mounts, &mut reasons);
        reasons.into_iter().map(|reason| reason.message).collect()
    }

    #[test]
    fn ordinary_mounts_are_taken() {
        for (path, subpath) in [
            ("/data", None),
            ("/home/daytona/my data", Some("users/alice")),
            ("/mnt/volume/", Some("")),
            ("/etcetera", Some(".hidden")),
            ("/usr/local/x", Some("a/..b/c.")),
            ("/library", Some("trailing/")),
        ] {
            assert_eq!(reasons(&[request(path, subpath)]), Vec::<String>::new());
        }
    }

    #[test]
    fn mount_paths_that_lead_elsewhere_or_cover_the_system_are_refused() {
        for path in [
            "", "/", "data", "./data", "//", "/a//b", "//data", "/a/../b", "/a/./b", "/..",
            "/a\0b", "/proc", "/proc/", "/proc/1", "/sys", "/dev/shm", "/boot", "/etc", "/etc/ssl",
            "/bin", "/sbin", "/lib", "/lib64/x",
        ] {
            assert_eq!(reasons(&[request(path, None)]).len(), 1, "{path:?}");
        }
        let long = format!("/{}", "x".repeat(PART_MAX_BYTES + 1));
        assert_eq!(reasons(&[request(&long, None)]).len(), 1);
        let long = "/abc".repeat(PATH_MAX_BYTES / 4 + 1);
        assert_eq!(reasons(&[request(&long, None)]).len(), 1);
    }

    #[test]
    fn subpaths_that_could_leave_the_volume_are_refused() {
        for subpath in ["/", "/a", "..", "a/..", "a/../b", ".", "a//b", "a\0"] {
            let found = reasons(&[request("/data", Some(subpath))]);
            assert_eq!(found.len(), 1, "{subpath:?}");
        }
    }

    #[test]
    fn two_volumes_in_one_place_are_refused_and_side_by_side_are_not() {
        let two = |one, other| reasons(&[request(one, None), request(other, None)]);
        assert_eq!(two("/a", "/a").len(), 1);
        assert_eq!(two("/a", "/a/b").len(), 1);
        assert_eq!(two("/a/b", "/a").len(), 1);
        assert_eq!(two("/a/", "/a/b").len(), 1);
        assert_eq!(two("/a/", "/a").len(), 1);
        assert_eq!(two("/a", "/ab").len(), 0);
        let many = vec![request("/a", None); MOUNTS_MAX + 1];
        assert_eq!(reasons(&many).len(), 1);
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_below_where_it_begins(path in "[/.a\0]{0,12}") {
            if check_subpath(&path).is_ok() {
                prop_assert!(!path.starts_with('/'));
                prop_assert!(path.split('/').all(|part| part != ".." && part != "."));
            }
            if check_mount_path(&path).is_ok() {
                prop_assert!(path.starts_with('/') && path.len() > 1);
                prop_assert!(path.split('/').all(|part| part != ".." && part != "."));
            }
        }
    }
}
