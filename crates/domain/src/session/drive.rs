//! Drives: volumes as clients of sessions see them.

use std::collections::BTreeMap;

use crate::volume::BYTES_MIN;
use crate::{MountRequest, Reason, VolumeId};

pub const DRIVE_NAME_MAX_BYTES: usize = 64;
/// What a drive's size is a multiple of.
const BYTES_STEP: u64 = 1 << 20;

/// A drive as a sandbox is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveMount {
    pub name: String,
    pub is_read_only: bool,
}

/// Checks the name of a drive, which stands in paths and in what says where it is mounted.
pub fn check_drive_name(name: &str, reasons: &mut Vec<Reason>) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let first = name.bytes().next();
    let begins_well = first.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins_well || name.len() > DRIVE_NAME_MAX_BYTES || !name.bytes().all(is_plain) {
        reasons.push(Reason::invalid(format!(
            "the name of a drive must have 1 to {DRIVE_NAME_MAX_BYTES} letters, digits, underscores, hyphens and \
             dots, the first a letter or digit"
        )));
    }
}

/// Reads the size of a drive, which no drive may have more of than `most` bytes. Rounded up to what disks are made of.
pub fn check_drive_bytes(bytes: Option<i64>, most: u64, reasons: &mut Vec<Reason>) -> u64 {
    let Some(bytes) = bytes else { return most };
    let rounded = u64::try_from(bytes).map(|bytes| bytes.div_ceil(BYTES_STEP) * BYTES_STEP);
    match rounded {
        Ok(rounded) if (BYTES_MIN..=most).contains(&rounded) => rounded,
        _ => {
            reasons.push(Reason::invalid(format!(
                "maxSizeBytes must be from {BYTES_MIN} to {most}"
            )));
            most
        }
    }
}

/// The mounts of a sandbox by their paths, of drives by their names, whose ids `ids` has.
pub fn mounts(
    drives: &BTreeMap<String, DriveMount>,
    ids: &BTreeMap<String, VolumeId>,
    reasons: &mut Vec<Reason>,
) -> Vec<MountRequest> {
    let mut mounts = Vec::new();
    for (path, drive) in drives {
        if path.contains('\n') {
            reasons.push(Reason::invalid(
                "mounts must not have paths with line breaks",
            ));
        }
        if let Some(id) = ids.get(&drive.name) {
            mounts.push(MountRequest {
                volume: id.to_string(),
                mount_path: path.clone(),
                subpath: None,
                is_read_only: drive.is_read_only,
            });
        }
    }
    mounts
}

/// What says where drives are mounted: lines of a drive, an equals sign and a path.
pub fn mounts_text(drives: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = drives
        .iter()
        .map(|(path, drive)| format!("{drive}={path}"))
        .collect();
    lines.join("\n")
}

/// What was written so; lines that are none of it are left out.
pub fn read_mounts(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(drive, path)| (path.to_owned(), drive.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_sizes_have_their_bounds() {
        let names = |name: &str| {
            let mut reasons = Vec::new();
            check_drive_name(name, &mut reasons);
            reasons.len()
        };
        let long = "x".repeat(DRIVE_NAME_MAX_BYTES + 1);
        assert_eq!(names("my-drive_1.x") + names(&long[1..]), 0);
        for name in ["", "a b", "a=b", "a/b", ".", "..", "-a", &long] {
            assert_eq!(names(name), 1, "{name}");
        }
        let most = 1 << 30;
        let bytes = |bytes| {
            let mut reasons = Vec::new();
            let read = check_drive_bytes(bytes, most, &mut reasons);
            (read, reasons.len())
        };
        assert_eq!(bytes(None), (most, 0));
        assert_eq!(bytes(Some(1 << 30)), (most, 0));
        assert_eq!(bytes(Some((16 << 20) + 1)), (17 << 20, 0));
        for wrong in [0, -1, 1 << 20, (1 << 30) + 1, i64::MAX] {
            assert_eq!(bytes(Some(wrong)).1, 1, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn where_drives_are_is_read_as_it_was_written(
            drives in proptest::collection::btree_map("/[ -~]{0,12}", "[a-z0-9.]{1,8}", 0..4),
        ) {
            prop_assert_eq!(read_mounts(&mounts_text(&drives)), drives);
        }
    }
}
