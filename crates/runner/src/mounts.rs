//! Puts a sandbox's root together.
//!
//! Mounting needs paths that both the kernel and nobody else can see. One thread of the server therefore
//! lives in a mount namespace of its own, with a scratch folder in memory: what it mounts is invisible to
//! the host, and is gone when the server is, however it ends. A finished root leaves the thread as a
//! detached mount, a descriptor that the sandbox's first process attaches in its own namespace.
#![expect(unsafe_code, reason = "idmapped mounts have no safe form yet")]

mod extra;
mod layer;
mod view;
mod volume;

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};
use tokio::sync::{mpsc, oneshot};

use crate::disk::Access;
use crate::image::Layer;

pub use self::extra::{ExtraMount, ExtraTree, MadePoints, remove_points};
pub use self::layer::MountedLayers;
pub use self::view::DiskView;
pub use self::volume::VolumePlan;

/// Jobs that may wait for the thread. Each takes one or two milliseconds, so a longer line would only
/// hide that the host is too slow.
const QUEUE_MAX: usize = 256;

/// The kernel takes the options of one mount as one page.
const OPTIONS_MAX_BYTES: usize = 4096;

/// Two steps by whose names `probe` tells what a host lacks.
pub(crate) const SHIFT_IDS: &str = "shift the ids of a layer";
pub(crate) const LAY_OVER: &str = "lay the layers over each other";

/// The disk in a folder of a root that is being made, with the ids of inside.
const DISK: &str = "d";

#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("cannot start the mount thread")]
    Thread(#[source] io::Error),
    #[error("the mount thread has ended")]
    Ended,
    #[error("cannot {step}")]
    Step {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("an image of {layers} layers does not fit into one mount")]
    TooManyLayers { layers: usize },
    #[error("cannot mount a volume at {mount_path}")]
    VolumePoint {
        mount_path: String,
        #[source]
        source: io::Error,
    },
}

impl MountError {
    /// The kernel's error number behind it, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Thread(source) | Self::Step { source, .. } | Self::VolumePoint { source, .. } => {
                source.raw_os_error()
            }
            Self::Ended | Self::TooManyLayers { .. } => None,
        }
    }
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> MountError {
    move |error| MountError::Step {
        step,
        source: error.into(),
    }
}

/// A mounted disk, by its name in the scratch folder. Unmounted with [`Mounts::release_disk`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountedDisk(u64);

impl MountedDisk {
    /// Seen from the scratch.
    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("{:x}", self.0))
    }
}

/// What a root is made from.
#[derive(Debug)]
pub struct RootPlan {
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Those that are disks, of these layers and of the mounts.
    pub mounted: MountedLayers,
    pub disk: MountedDisk,
    /// The sandbox's user namespace: ids of the layers are shifted by its map.
    pub user_namespace: OwnedFd,
    /// First host id of the sandbox.
    pub id_base: u32,
    /// Files to write before the root is used for the first time, with mode 0644 and root inside as owner.
    pub files: Vec<(&'static str, String)>,
    /// The disk is a copy of another sandbox's, which has such files of its own.
    pub is_copy: bool,
    pub volumes: Vec<VolumePlan>,
    /// What is mounted below the root, in order.
    pub mounts: Vec<ExtraMount>,
    /// Gets the mount points that had to be made for them.
    pub made: MadePoints,
    /// The first process makes a `/tmp` where there is none; that is a mount point that had to be made too.
    pub notes_tmp: bool,
}

type Job = Box<dyn FnOnce(&mut Scratch) + Send>;

/// The door to the mount thread.
#[derive(Debug, Clone)]
pub struct Mounts {
    jobs: mpsc::Sender<Job>,
}

impl Mounts {
    /// Starts the thread with its scratch on top of `point`, an existing empty folder.
    pub async fn start(point: PathBuf) -> Result<Self, MountError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE_MAX);
        let (ready, started) = oneshot::channel();
        std::thread::Builder::new()
            .name("mounts".to_owned())
            .spawn(move || match Scratch::enter(point) {
                Ok(mut scratch) => {
                    // A caller that no longer waits has no use for the thread either.
                    let _ = ready.send(Ok(()));
                    while let Some(job) = queue.blocking_recv() {
                        job(&mut scratch);
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(MountError::Thread)?;
        started.await.map_err(|_| MountError::Ended)??;
        Ok(Self { jobs })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Scratch) -> Result<T, MountError> + Send + 'static,
    ) -> Result<T, MountError> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |scratch| {
            let _ = done.send(work(scratch));
        });
        self.jobs.send(job).await.map_err(|_| MountError::Ended)?;
        result.await.map_err(|_| MountError::Ended)?
    }

    /// Mounts the file system on a block device.
    pub async fn mount_disk(&self, device: PathBuf) -> Result<MountedDisk, MountError> {
        self.run(move |scratch| scratch.mount_disk(&device, Access::ReadWrite))
            .await
    }

    /// Takes the disk out of the scratch. A root made from it keeps it mounted.
    pub async fn release_disk(&self, disk: MountedDisk) -> Result<(), MountError> {
        self.run(move |scratch| scratch.release_disk(&disk)).await
    }

    /// Puts the root together and returns it detached. From then on the root keeps disk and volumes mounted, and the
    /// thread takes them out of the scratch; where it fails, they stay there.
    pub async fn make_root(&self, plan: RootPlan) -> Result<OwnedFd, MountError> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |scratch| {
            scratch.make_root(&plan, |root| {
                let _ = done.send(root);
            });
        });
        self.jobs.send(job).await.map_err(|_| MountError::Ended)?;
        result.await.map_err(|_| MountError::Ended)?
    }
}

/// What only the thread touches.
#[derive(Debug)]
struct Scratch {
    point: PathBuf,
    next: u64,
    disks: HashSet<MountedDisk>,
}

impl Scratch {
    fn enter(point: PathBuf) -> Result<Self, MountError> {
        // SAFETY: changes what this thread sees, and nothing else: CLONE_NEWNS makes it stop sharing its
        // working directory with the other threads too.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(step("make a mount namespace")(io::Error::last_os_error()));
        }
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        classic_mount("none", Path::new("/"), "", flags, "")
            .map_err(step("keep own mounts from spreading"))?;
        keep_capabilities().map_err(step("keep capabilities over a change of user"))?;
        let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        classic_mount("scratch", &point, "tmpfs", quiet, "mode=0700,size=16m")
            .map_err(step("mount the scratch folder"))?;
        // A folder of the scratch stays short however long the data folder's path is: the options of an
        // overlay are one page, and each layer's path takes its share.
        std::env::set_current_dir(&point).map_err(step("enter the scratch folder"))?;
        Ok(Self {
            point,
            next: 0,
            disks: HashSet::new(),
        })
    }

    fn folder(&mut self) -> Result<(u64, PathBuf), MountError> {
        self.next += 1;
        let path = PathBuf::from(format!("{:x}", self.next));
        fs::create_dir(&path).map_err(step("make a folder in the scratch"))?;
        Ok((self.next, path))
    }

    fn mount_disk(&mut self, device: &Path, access: Access) -> Result<MountedDisk, MountError> {
        let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("open ext4"))?;
        fsconfig_set_string(context.as_fd(), "source", device)
            .map_err(step("name the disk's device"))?;
        // The inode tables are written when they are first used; freed blocks go back to the host.
        let options: &[&str] = match access {
            Access::ReadWrite => &["noinit_itable", "discard"],
            Access::ReadOnly => &["ro"],
        };
        for option in options {
            fsconfig_set_flag(context.as_fd(), *option)
                .map_err(step("set an option of the disk"))?;
        }
        fsconfig_create(context.as_fd()).map_err(step("read the disk's file system"))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOATIME | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(step("mount the disk"))?;
        let (number, path) = self.folder()?;
        if let Err(error) = attach(mount.as_fd(), &path) {
            let _ = fs::remove_dir(&path);
            return Err(step("attach the disk")(error));
        }
        let disk = MountedDisk(number);
        self.disks.insert(disk.clone());
        Ok(disk)
    }

    fn release_disk(&mut self, disk: &MountedDisk) -> Result<(), MountError> {
        if !self.disks.remove(disk) {
            return Ok(());
        }
        let path = disk.folder();
        unmount(&path, UnmountFlags::DETACH).map_err(step("take a disk off the scratch"))?;
        fs::remove_dir(&path).map_err(step("remove a folder of the scratch"))
    }

    fn make_root(&mut self, plan: &RootPlan, answer: impl FnOnce(Result<OwnedFd, MountError>)) {
        let work = match self.folder() {
            Ok((_, work)) => work,
            Err(error) => return answer(Err(error)),
        };
        let mut attached = Vec::new();
        let result = Self::make_root_in(&work, plan, &mut attached);
        let is_made = result.is_ok();
        // Before the tidying up: each unmount waits for a grace period of the kernel, together about as long
        // as all that has been done so far, and nobody needs it for the sandbox to start.
        answer(result);
        // Undone in reverse; the detached root keeps what it needs.
        for path in attached.iter().rev() {
            if let Err(error) = unmount(path, UnmountFlags::DETACH) {
                tracing::error!(path = %self.point.join(path).display(), %error, "cannot take a mount off");
            }
        }
        for entry in fs::read_dir(&work)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&work);
        if !is_made {
            return;
        }
        let volumes = plan.volumes.iter().map(|volume| &volume.disk);
        for disk in volumes.chain(plan.mounted.disks()).chain([&plan.disk]) {
            if let Err(error) = self.release_disk(disk) {
                tracing::error!(%error, "cannot take a disk out of the scratch");
            }
        }
    }

    fn make_root_in(
        work: &Path,
        plan: &RootPlan,
        attached: &mut Vec<PathBuf>,
    ) -> Result<OwnedFd, MountError> {
        if plan.notes_tmp {
            layer::note_tmp(plan)?;
        }
        let mut lower = String::new();
        // Overlayfs wants the highest layer first.
        for (index, layer) in plan.layers.iter().rev().enumerate() {
            let point = work.join(format!("{index:x}"));
            fs::create_dir(&point).map_err(step("make a folder in the scratch"))?;
            let tree = open_tree(
                CWD,
                plan.mounted.place(layer)?,
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            )
            .map_err(step("open a layer"))?;
            shift_ids(tree.as_fd(), plan.user_namespace.as_fd()).map_err(step(SHIFT_IDS))?;
            attach(tree.as_fd(), &point).map_err(step("attach a layer"))?;
            attached.push(point.clone());
            if !lower.is_empty() {
                lower.push(':');
            }
            lower.push_str(&point.to_string_lossy());
        }
        let disk = plan.disk.folder();
        prepare_upper(&disk, plan).map_err(step("prepare the writable layer"))?;
        // What is on the disk carries the ids of inside, as the layers do, so that a disk can be copied for
        // another sandbox, and put away and brought back.
        let own = work.join(DISK);
        fs::create_dir(&own).map_err(step("make a folder in the scratch"))?;
        let tree = open_tree(
            CWD,
            &disk,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .map_err(step("open the disk"))?;
        shift_ids(tree.as_fd(), plan.user_namespace.as_fd()).map_err(step(SHIFT_IDS))?;
        attach(tree.as_fd(), &own).map_err(step("attach the disk"))?;
        attached.push(own.clone());

        // `redirect_dir` lets folders of the image be renamed, as a program expects of a file system. Without `metacopy` a
        // file on the disk has its own content, whatever the kernel does otherwise.
        let options = format!(
            "lowerdir={lower},upperdir={own}/upper,workdir={own}/work,redirect_dir=on,metacopy=off",
            own = own.display()
        );
        if options.len() >= OPTIONS_MAX_BYTES {
            return Err(MountError::TooManyLayers {
                layers: plan.layers.len(),
            });
        }
        let point = work.join("root");
        fs::create_dir(&point).map_err(step("make a folder in the scratch"))?;
        // Overlayfs works with the ids of whoever mounts it, and the host's root is nobody on that disk.
        as_user(plan.id_base, || {
            classic_mount(
                "overlay",
                &point,
                "overlay",
                libc::MS_NODEV | libc::MS_NOATIME,
                &options,
            )
        })
        .map_err(step(LAY_OVER))?;
        // What is mounted in it goes with it, here and in the copy.
        attached.push(point.clone());
        volume::mount_all(&point, plan)?;
        for (index, mount) in plan.mounts.iter().enumerate() {
            extra::attach_below(work, &point, plan, mount, index, attached)?;
        }
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if !plan.mounts.is_empty() || !plan.volumes.is_empty() {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        open_tree(CWD, &point, flags).map_err(step("detach the root"))
    }
}

/// Makes the two folders that overlayfs writes to, and the files of the plan.
fn prepare_upper(disk: &Path, plan: &RootPlan) -> io::Result<()> {
    let (upper, draft) = (disk.join("upper"), disk.join("upper.draft"));
    new_folder(&disk.join("work"))?;
    if upper.exists() {
        if plan.is_copy {
            view::replace_files(&upper, &plan.files)?;
        }
        // Started before: the files are the user's now.
        return Ok(());
    }
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    new_folder(&draft)?;
    for (path, text) in &plan.files {
        let path = draft.join(path);
        if let Some(folder) = path.parent().filter(|folder| *folder != draft) {
            new_folder(folder)?;
        }
        view::new_file(CWD, &path, text)?;
    }
    // Last, as the mark that the rest is done.
    fs::rename(draft, upper)
}

fn new_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// From then on this thread keeps its capabilities when it takes another user's id for files.
fn keep_capabilities() -> io::Result<()> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: numbers only; it changes this thread's credentials and nothing else.
    if unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Does something with this user's and group's id for files. This thread alone has them meanwhile.
fn as_user<T>(id: u32, work: impl FnOnce() -> T) -> T {
    // SAFETY: numbers only; both calls are about the calling thread and cannot fail for root.
    let set = |id: u32| unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    };
    set(id);
    let result = work();
    set(0);
    result
}

fn attach(mount: BorrowedFd<'_>, point: &Path) -> io::Result<()> {
    Ok(move_mount(
        mount,
        "",
        CWD,
        point,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

fn shift_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    shift_ids_and_set(mount, user_namespace, MountAttrFlags::empty())
}

/// Shifts the ids of a mount and sets flags on it, both or none.
fn shift_ids_and_set(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    flags: MountAttrFlags,
) -> io::Result<()> {
    let set = MOUNT_ATTR_IDMAP | u64::from(flags.bits());
    set_attributes(mount, set, user_namespace.as_raw_fd())
}

/// `user_namespace` is looked at for id maps only.
fn set_attributes(mount: BorrowedFd<'_>, set: u64, user_namespace: RawFd) -> io::Result<()> {
    let attributes = MountAttributes {
        set,
        clear: 0,
        propagation: 0,
        user_namespace: u64::from(user_namespace.unsigned_abs()),
    };
    // SAFETY: an open descriptor, an empty path, and a structure of the size that is told, which names an open
    // descriptor where one counts; the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AtFlags::EMPTY_PATH.bits(),
            std::ptr::from_ref(&attributes),
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn classic_mount(
    source: &str,
    target: &Path,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput);
    let source = text(source.as_bytes())?;
    let target = text(target.as_os_str().as_encoded_bytes())?;
    let (kind, data) = (text(kind.as_bytes())?, text(data.as_bytes())?);
    // SAFETY: four strings that end in a zero byte and live until the call returns.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast::<libc::c_void>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
