//! The data folder: a small disk is made, attached and mounted, and a root is laid over a layer, all by the code
//! that does it for sandboxes.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::namespaces::Outcome;
use super::{Check, Subject, Trouble};
use crate::disk::{Disks, LoopDevice, LoopNumber};
use crate::image::Layer;
use crate::mounts::{
    LAY_OVER, MountError, MountedDisk, MountedLayers, Mounts, RootPlan, SHIFT_IDS,
};

/// What it takes on the data folder is 200 KiB.
const DISK_BYTES: u64 = 64 << 20;

/// With less left the trial would fail for that alone.
const ROOM_FOR_TRIAL: u64 = 4 << 20;

/// How long the kernel may take to let go of the trial's disk.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);

const SPACE_WISH: u64 = 5 << 30;
const INODES_WISH: u64 = 200_000;

const FOLDER: Subject = Subject::required("data-folder", "a data folder that can be written");
const SPACE: Subject = Subject::wished("space", "5 GiB or more for the data folder");
const INODES: Subject = Subject::wished("inodes", "200,000 or more for the data folder");
const MKFS: Subject = Subject::required(
    "mkfs.ext4",
    "the program mkfs.ext4 (Debian package e2fsprogs)",
);
const LOOP: Subject =
    Subject::required("loop-devices", "loop devices, to bound each sandbox's disk");
const DIRECT: Subject = Subject::wished("direct-io", "loop devices that go round the page cache");
const DISCARD: Subject = Subject::wished("discard", "loop devices that give freed blocks back");
const EXT4: Subject = Subject::required("ext4", "the file system ext4");
const IDMAP: Subject = Subject::required(
    "idmapped-mounts",
    "a file system under the data folder that takes idmapped mounts",
);
const OVERLAY: Subject = Subject::required("overlay", "overlayfs over idmapped layers");
const REFLINK: Subject = Subject::wished(
    "reflink",
    "a file system under the data folder that shares blocks between files",
);
const HOLES: Subject = Subject::wished(
    "holes",
    "a file system under the data folder that tells where files have holes",
);

type Trial = Option<Result<String, Trouble>>;

/// What was tried. `None` is what could not be.
#[derive(Debug, Default)]
pub(super) struct Storage {
    folder: Trial,
    room: Option<Room>,
    mkfs: Trial,
    loop_device: Trial,
    direct_io: Option<bool>,
    discard: Option<bool>,
    ext4: Trial,
    idmap: Trial,
    overlay: Trial,
    reflink: Trial,
    holes: Trial,
}

#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    /// `None` for a file system that makes inodes as it goes.
    inodes: Option<u64>,
}

pub(super) async fn try_out(data_dir: &Path, rehearsal: Option<&Outcome>) -> Storage {
    let mut storage = Storage::default();
    // The server will make the folder if it is not there yet.
    let nearest = data_dir
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    storage.room = rustix::fs::statvfs(nearest).ok().map(|found| Room {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: (found.f_files > 0).then_some(found.f_favail),
    });
    let scratch = match super::scratch_in(nearest) {
        Ok(scratch) => scratch,
        Err(error) => {
            storage.folder = Some(Err(Trouble::io("write to the data folder", &error)));
            return storage;
        }
    };
    storage.folder = Some(Ok(format!("{} can be written", nearest.display())));
    storage.reflink =
        Some(try_reflink(scratch.path()).map(|()| "files can share blocks".to_owned()));
    storage.holes = Some(try_holes(scratch.path()).map(|()| "holes are seen".to_owned()));
    if storage.room.is_some_and(|room| room.bytes < ROOM_FOR_TRIAL) {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        storage.mkfs = Some(Err(Trouble::io("make a disk", &full)));
        return storage;
    }
    let namespace = rehearsal.and_then(|outcome| outcome.user_namespace.as_ref());
    let attached = try_disk(&mut storage, scratch.path(), namespace).await;
    if let Some((number, file)) = attached
        && !number.released(&file, RELEASE_PATIENCE).await
    {
        tracing::warn!(device = %number.path().display(), "the kernel is slow to let go of a loop device");
    }
    storage
}

/// From an image file to a whole root. Returns the device that has to be let go of.
async fn try_disk(
    storage: &mut Storage,
    scratch: &Path,
    namespace: Option<&OwnedFd>,
) -> Option<(LoopNumber, PathBuf)> {
    let folder = scratch.join("disks");
    let make = move || Disks::open(folder).and_then(|disks| disks.create("trial", DISK_BYTES));
    let image = match tokio::task::spawn_blocking(make).await {
        Ok(Ok(image)) => image,
        Ok(Err(error)) => {
            storage.mkfs = Some(Err(Trouble::of(&error, error.errno())));
            return None;
        }
        Err(error) => {
            storage.mkfs = Some(Err(Trouble::of(&error, None)));
            return None;
        }
    };
    storage.mkfs = Some(Ok("made a file system".to_owned()));

    let device = match LoopDevice::attach(&image) {
        Ok(device) => device,
        Err(error) => {
            storage.loop_device = Some(Err(Trouble::io("attach a loop device", &error)));
            return None;
        }
    };
    let number = device.number();
    storage.loop_device = Some(Ok(format!("attached {}", number.path().display())));
    storage.direct_io = read_number(number, "loop/dio").map(|value| value == 1);
    storage.discard = read_number(number, "queue/discard_max_bytes").map(|value| value > 0);

    let point = scratch.join("scratch");
    let layer = scratch.join("layer");
    let prepared = fs::create_dir(&point).and_then(|()| fs::create_dir(&layer));
    if let Err(error) = prepared {
        storage.ext4 = Some(Err(Trouble::io("make a folder", &error)));
    } else if let Err(error) = mount_all(storage, &device, point, layer, namespace).await {
        let trouble = Trouble::of(&error, error.errno());
        match &error {
            MountError::Step { step, .. } if *step == SHIFT_IDS => {
                storage.idmap = Some(Err(trouble));
            }
            MountError::Step { step, .. } if *step == LAY_OVER => {
                storage.idmap = Some(Ok("a layer's ids can be shifted".to_owned()));
                storage.overlay = Some(Err(trouble));
            }
            _ if storage.ext4.is_none() => storage.ext4 = Some(Err(trouble)),
            _ => storage.overlay = Some(Err(trouble)),
        }
    }
    Some((number, image))
}

async fn mount_all(
    storage: &mut Storage,
    device: &LoopDevice,
    point: PathBuf,
    layer: PathBuf,
    namespace: Option<&OwnedFd>,
) -> Result<(), MountError> {
    let mounts = Mounts::start(point).await?;
    let disk: MountedDisk = mounts.mount_disk(device.number().path()).await?;
    storage.ext4 = Some(Ok("mounted".to_owned()));
    let Some(Ok(user_namespace)) = namespace.map(OwnedFd::try_clone) else {
        return Ok(());
    };
    let root = mounts
        .make_root(RootPlan {
            mounts: Vec::new(),
            made: Arc::default(),
            notes_tmp: false,
            layers: vec![Layer::Folder(layer)],
            mounted: MountedLayers::default(),
            disk: disk.clone(),
            user_namespace,
            id_base: alcove_spawner::protocol::REHEARSAL_ID_BASE,
            files: vec![("hostname", "trial\n".to_owned())],
            is_copy: false,
            volumes: Vec::new(),
        })
        .await?;
    storage.idmap = Some(Ok("a layer's ids can be shifted".to_owned()));
    storage.overlay = Some(Ok("a root was put together".to_owned()));
    drop(root);
    mounts.release_disk(disk).await
}

fn read_number(number: LoopNumber, file: &str) -> Option<u64> {
    let path = format!("/sys/block/loop{}/{file}", number.0);
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn try_reflink(scratch: &Path) -> Result<(), Trouble> {
    let try_it = || -> io::Result<()> {
        let source = scratch.join("source");
        fs::write(&source, [1; 4096])?;
        let target = fs::File::create(scratch.join("target"))?;
        Ok(rustix::fs::ioctl_ficlone(
            target.as_fd(),
            fs::File::open(source)?.as_fd(),
        )?)
    };
    try_it().map_err(|error| Trouble::io("share blocks between files", &error))
}

fn try_holes(scratch: &Path) -> Result<(), Trouble> {
    const HOLE: u64 = 8 << 20;
    let try_it = || -> io::Result<bool> {
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(scratch.join("holes"))?;
        file.seek(SeekFrom::Start(HOLE))?;
        file.write_all(b"data")?;
        // A file system that knows no holes says that there is data from the start.
        Ok(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0))? > 0)
    };
    match try_it() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Trouble {
            text: "holes are not seen".to_owned(),
            errno: None,
        }),
        Err(error) => Err(Trouble::io("look for holes", &error)),
    }
}

pub(super) fn judge(storage: &Storage) -> Vec<Check> {
    let kernel = "Load the kernel module, or use a kernel that has it.";
    let other = "Choose a data folder on another file system (ext4, xfs or btrfs on a disk).";
    let mut checks = vec![FOLDER.judge(
        storage.folder.as_ref(),
        "Choose another data folder, or see why this one cannot be written.",
    )];
    checks.extend(judge_room(storage.room));
    checks.extend([
        MKFS.judge(storage.mkfs.as_ref(), "Install it, or run `make setup`."),
        LOOP.judge(
            storage.loop_device.as_ref(),
            "Load the kernel module loop; in a container, give it /dev/loop-control and the loop devices.",
        ),
        judge_quality(&DIRECT, storage.direct_io, "Files of sandboxes are kept in memory twice; choose a data folder on another file system."),
        judge_quality(&DISCARD, storage.discard, "Disks of sandboxes never shrink; choose a data folder on another file system."),
        EXT4.judge(storage.ext4.as_ref(), kernel),
        IDMAP.judge(storage.idmap.as_ref(), other),
        OVERLAY.judge(storage.overlay.as_ref(), kernel),
        REFLINK.judge(storage.reflink.as_ref(), "Disks are copied by ranges of data instead, which takes longer for full ones. xfs and btrfs share blocks."),
        HOLES.judge(storage.holes.as_ref(), other),
    ]);
    checks
}

fn judge_room(room: Option<Room>) -> [Check; 2] {
    let Some(Room { bytes, inodes }) = room else {
        return [SPACE.not_tried(), INODES.not_tried()];
    };
    let advice = "Make room, or choose another data folder.";
    let found = format!("{} GiB left", bytes >> 30);
    let space = if bytes >= SPACE_WISH {
        SPACE.ok(found)
    } else {
        SPACE.lacking(found, advice)
    };
    let inodes = match inodes {
        None => INODES.ok("made as they are needed"),
        Some(count) if count >= INODES_WISH => INODES.ok(format!("{count} left")),
        Some(count) => INODES.lacking(format!("{count} left"), advice),
    };
    [space, inodes]
}

fn judge_quality(subject: &Subject, is_there: Option<bool>, advice: &'static str) -> Check {
    match is_there {
        None => subject.not_tried(),
        Some(true) => subject.ok("on"),
        Some(false) => subject.lacking("off", advice),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status::{self, Degraded, Missing, Ok as Fine};
    use super::*;

    fn fine() -> Storage {
        let ok = || Some(Ok(String::new()));
        Storage {
            folder: ok(),
            room: Some(Room {
                bytes: SPACE_WISH,
                inodes: None,
            }),
            mkfs: ok(),
            loop_device: ok(),
            direct_io: Some(true),
            discard: Some(true),
            ext4: ok(),
            idmap: ok(),
            overlay: ok(),
            reflink: ok(),
            holes: ok(),
        }
    }

    fn failed(errno: i32) -> Result<String, Trouble> {
        Err(Trouble::io("try", &io::Error::from_raw_os_error(errno)))
    }

    fn statuses(storage: &Storage) -> Vec<(&'static str, Status)> {
        judge(storage)
            .iter()
            .filter(|check| check.status != Fine)
            .map(|check| (check.name, check.status))
            .collect()
    }

    type Change = fn(&mut Storage);

    #[test]
    fn each_trial_is_judged_under_its_own_name() {
        assert_eq!(statuses(&fine()), []);
        let cases: [(Change, (&str, Status)); 9] = [
            (
                |s| s.folder = Some(failed(libc::EROFS)),
                ("data-folder", Missing),
            ),
            (
                |s| s.mkfs = Some(failed(libc::ENOENT)),
                ("mkfs.ext4", Missing),
            ),
            (
                |s| s.loop_device = Some(failed(libc::ENOENT)),
                ("loop-devices", Missing),
            ),
            (|s| s.direct_io = Some(false), ("direct-io", Degraded)),
            (|s| s.discard = Some(false), ("discard", Degraded)),
            (|s| s.ext4 = Some(failed(libc::ENODEV)), ("ext4", Missing)),
            (
                |s| s.idmap = Some(failed(libc::EINVAL)),
                ("idmapped-mounts", Missing),
            ),
            (
                |s| s.overlay = Some(failed(libc::ENODEV)),
                ("overlay", Missing),
            ),
            (
                |s| s.reflink = Some(failed(libc::EOPNOTSUPP)),
                ("reflink", Degraded),
            ),
        ];
        for (change, expected) in cases {
            let mut storage = fine();
            change(&mut storage);
            assert_eq!(statuses(&storage), [expected]);
        }
    }

    #[test]
    fn a_full_disk_does_not_keep_the_server_from_starting() {
        let mut storage = fine();
        storage.mkfs = Some(failed(libc::ENOSPC));
        (
            storage.loop_device,
            storage.ext4,
            storage.idmap,
            storage.overlay,
        ) = (None, None, None, None);
        assert!(super::super::required_failures(&judge(&storage)).is_empty());
        assert_eq!(statuses(&storage)[0], ("mkfs.ext4", Degraded));
    }

    #[test]
    fn room_is_judged_by_blocks_and_by_inodes() {
        for (bytes, inodes, expected) in [
            (SPACE_WISH, None, [Fine, Fine]),
            (SPACE_WISH - 1, Some(INODES_WISH), [Degraded, Fine]),
            (SPACE_WISH, Some(INODES_WISH - 1), [Fine, Degraded]),
        ] {
            let checks = judge_room(Some(Room { bytes, inodes }));
            assert_eq!(checks.map(|check| check.status), expected);
        }
    }
}
