//! What a sandbox's first process does between its birth and the agent's first instruction.
//!
//! The process is a copy of a single-threaded parent, so ordinary code (allocation included) is sound
//! here. It holds all capabilities of its own new user namespace and none of the host's. The order of the
//! steps matters: control groups first, so that all that follows is counted; the filter before the
//! capabilities go, since loading it without `no_new_privs` needs one; the descriptors last.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use alcove_spawner::protocol::{
    AGENT_CONFIG_FD, AGENT_GIT_FD, AGENT_LIMITS_COUNT, AGENT_LIMITS_FD, AGENT_LISTENER_FD,
    CgroupEntry, Spawn, Step,
};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use crate::seccomp::Filter;
use crate::stage::{CPU_LIST, ROOT_POINT, mount};
use crate::{capabilities, system};

/// Files of `/proc` that tell about the host or steer it, covered by the sandbox's `/dev/null`. Those that a kernel
/// does not have are skipped.
const MASKED_FILES: [&str; 15] = [
    "interrupts",
    "latency_stats",
    "kcore",
    "keys",
    "key-users",
    "kallsyms",
    "kmsg",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "sysrq-trigger",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "config.gz",
];

/// Folders of `/proc` covered by an empty one.
const MASKED_FOLDERS: [&str; 4] = ["acpi", "scsi", "asound", "tty/driver"];

/// Folders of `/proc` that stay visible but cannot be written.
const READ_ONLY_FOLDERS: [&str; 4] = ["sys", "bus", "fs", "irq"];

/// Above all descriptors that the agent is given.
const HIGH_FD: i32 = 32;

/// Terminals of one sandbox. The kernel has 4,096 for the whole host, and the first who asks gets them.
const TERMINALS_MAX: u32 = 256;

/// Descriptors of one spawn, as the child needs them.
pub struct Descriptors {
    pub root: OwnedFd,
    /// A detached mount: the sandbox's `/dev`.
    pub devices: OwnedFd,
    pub agent_listener: OwnedFd,
    pub agent_config: OwnedFd,
    pub agent_program: OwnedFd,
    pub git_program: OwnedFd,
    pub agent_log: OwnedFd,
    pub agent_limits: [OwnedFd; AGENT_LIMITS_COUNT],
    pub cgroups: Vec<OwnedFd>,
}

/// Ends in the agent's program, or writes the failed step into `status` and ends the process.
pub fn run(spawn: &Spawn, fds: &Descriptors, filter: &Filter, go: OwnedFd, status: OwnedFd) -> ! {
    // Out of the way of the numbers that the agent's descriptors get.
    let status = rustix::io::fcntl_dupfd_cloexec(&status, HIGH_FD).unwrap_or(status);
    let (step, error) = match prepare(spawn, fds, filter, go) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    report(step, &error, status);
    system::exit_now(127)
}

fn report(step: Step, error: &io::Error, status: OwnedFd) {
    let mut report = vec![step as u8];
    report.extend_from_slice(&error.raw_os_error().unwrap_or(0).to_le_bytes());
    // The parent sees an empty report as a crash of the child, which is as good an answer.
    let _ = fs::File::from(status).write_all(&report);
}

fn prepare(
    spawn: &Spawn,
    fds: &Descriptors,
    filter: &Filter,
    go: OwnedFd,
) -> Result<std::convert::Infallible, Failure> {
    let at = |step: Step| move |error: io::Error| (step, error);

    if spawn.cgroup_entry == CgroupEntry::WriteTasks {
        for cgroup in &fds.cgroups {
            rustix::io::write(cgroup, b"0").map_err(|e| (Step::EnterCgroup, e.into()))?;
        }
    }
    enter(go, &spawn.hostname)?;
    move_mount(
        fds.root.as_fd(),
        "",
        rustix::fs::CWD,
        ROOT_POINT,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|e| (Step::AttachRoot, e.into()))?;
    furnish(fds.devices.as_fd(), spawn.shm_bytes, filter)?;
    let program = pass_descriptors(fds).map_err(at(Step::PassDescriptors))?;
    Err((
        Step::Exec,
        system::exec_descriptor(&program, c"alcove-agent"),
    ))
}

/// All that a sandbox's process does, on an empty root and without becoming another program: tells whether
/// this host lets it. Reports as [`run`] does; the report is empty where everything went well.
pub fn rehearse(devices: &OwnedFd, filter: &Filter, go: OwnedFd, status: OwnedFd) -> ! {
    if let Err((step, error)) = isolate(devices, filter, go) {
        report(step, &error, status);
    }
    system::exit_now(0)
}

/// All that isolates a sandbox's process, on an empty root in memory.
pub fn isolate(devices: &OwnedFd, filter: &Filter, go: OwnedFd) -> Result<(), Failure> {
    enter(go, "rehearsal")?;
    mount("root", ROOT_POINT, "tmpfs", 0, "mode=755,size=64k")
        .map_err(|error| (Step::AttachRoot, error))?;
    furnish(devices.as_fd(), 1 << 20, filter)
}

/// The step and the error number of a child's report.
pub fn read_report(bytes: &[u8]) -> (Step, i32) {
    let step = bytes
        .first()
        .and_then(|b| Step::from_number(*b))
        .unwrap_or(Step::Request);
    let errno = bytes
        .get(1..5)
        .and_then(|b| b.try_into().ok())
        .map_or(0, i32::from_le_bytes);
    (step, errno)
}

/// The step that failed, and why.
pub type Failure = (Step, io::Error);

/// From the birth to an own mount namespace.
fn enter(go: OwnedFd, hostname: &str) -> Result<(), Failure> {
    let at = |step: Step| move |error: io::Error| (step, error);
    // The parent writes the id maps meanwhile, and then one byte; the end of the pipe means that it failed.
    let mut byte = [0_u8; 1];
    fs::File::from(go)
        .read_exact(&mut byte)
        .map_err(at(Step::MapIds))?;

    system::become_root().map_err(at(Step::BecomeRoot))?;
    rustix::process::setsid().map_err(|e| (Step::BecomeRoot, e.into()))?;
    system::unshare_cgroup().map_err(at(Step::EnterCgroup))?;
    rustix::system::sethostname(hostname.as_bytes()).map_err(|e| (Step::Hostname, e.into()))?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "").map_err(at(Step::AttachRoot))
}

/// From the attached root to the last step before the agent's descriptors.
fn furnish(devices: BorrowedFd<'_>, shm_bytes: u64, filter: &Filter) -> Result<(), Failure> {
    let at = |step: Step| move |error: io::Error| (step, error);
    std::env::set_current_dir(ROOT_POINT).map_err(at(Step::AttachRoot))?;

    mount_proc().map_err(at(Step::MountProc))?;
    mount_dev(devices, shm_bytes).map_err(at(Step::MountDev))?;
    mount_sys().map_err(at(Step::MountSys))?;
    mask_proc().map_err(at(Step::MaskProc))?;
    pivot().map_err(at(Step::PivotRoot))?;

    forbid_core_dumps().map_err(at(Step::DropCapabilities))?;
    capabilities::drop_bounding().map_err(at(Step::DropCapabilities))?;
    system::load_filter(filter).map_err(at(Step::LoadSeccomp))
}

fn ensure_folder(path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A link in the image must not lead a mount elsewhere.
            if fs::symlink_metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ENOTDIR))
            }
        }
        other => other,
    }
}

fn mount_proc() -> io::Result<()> {
    ensure_folder("proc")?;
    mount(
        "proc",
        "proc",
        "proc",
        libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
        "",
    )?;
    // No user namespaces below this one: they are the way to most of the kernel's attack surface.
    fs::write("proc/sys/user/max_user_namespaces", "0")
}

fn mount_dev(devices: BorrowedFd<'_>, shm_bytes: u64) -> io::Result<()> {
    ensure_folder("dev")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(devices, "", rustix::fs::CWD, "dev", flags)?;
    for folder in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir(folder)?;
    }
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // Group 5 is `tty` in every distribution; it owns terminals.
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid=5,max={TERMINALS_MAX}");
    mount(
        "devpts",
        "dev/pts",
        "devpts",
        libc::MS_NOSUID | libc::MS_NOEXEC,
        &options,
    )?;
    let options = format!("mode=1777,size={shm_bytes}");
    mount("shm", "dev/shm", "tmpfs", quiet, &options)?;
    mount("mqueue", "dev/mqueue", "mqueue", quiet, "")?;
    for (link, target) in [
        ("dev/ptmx", "pts/ptmx"),
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, link)?;
    }
    Ok(())
}

/// A real `/sys` shows the host's devices, and cannot be mounted by a namespace that does not own its
/// network. What programs look for there is the number of processors.
fn mount_sys() -> io::Result<()> {
    ensure_folder("sys")?;
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount("sys", "sys", "tmpfs", quiet, "mode=755,size=64k")?;
    fs::create_dir_all("sys/devices/system/cpu")?;
    if Path::new(CPU_LIST).exists() {
        mount(CPU_LIST, "sys/devices/system/cpu", "", libc::MS_BIND, "")?;
    }
    mount(
        "none",
        "sys",
        "",
        libc::MS_REMOUNT | libc::MS_RDONLY | quiet,
        "mode=755,size=64k",
    )
}

fn mask_proc() -> io::Result<()> {
    for file in MASKED_FILES {
        skip_missing(mount(
            "dev/null",
            &format!("proc/{file}"),
            "",
            libc::MS_BIND,
            "",
        ))?;
    }
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    for folder in MASKED_FOLDERS {
        let target = format!("proc/{folder}");
        skip_missing(mount(
            "empty",
            &target,
            "tmpfs",
            libc::MS_RDONLY | quiet,
            "size=0",
        ))?;
    }
    for folder in READ_ONLY_FOLDERS {
        let target = format!("proc/{folder}");
        skip_missing(
            mount(&target, &target, "", libc::MS_BIND | libc::MS_REC, "").and_then(|()| {
                let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | quiet;
                mount("none", &target, "", flags, "")
            }),
        )?;
    }
    Ok(())
}

fn skip_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn pivot() -> io::Result<()> {
    // Old and new root in one place: the old one then lies on top and is taken off.
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    // Images differ here, and a missing /tmp breaks nearly every program.
    if ensure_folder("tmp").is_ok() {
        let _ = fs::set_permissions("tmp", fs::Permissions::from_mode(0o1777));
    }
    Ok(())
}

/// Where the host hands crashes to a program, that program runs as the host's root on memory that the sandbox has
/// filled, and keeps it on the host's disk. A limit of zero does not stop the kernel from starting it; a limit of
/// one byte does, and also keeps it from writing files.
fn forbid_core_dumps() -> io::Result<()> {
    let one = rustix::process::Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::Core,
        one,
    )?)
}

/// Puts the agent's descriptors where it expects them and returns the one to execute.
///
/// Everything else closes on exec: the parent opens and receives nothing without that mark.
fn pass_descriptors(fds: &Descriptors) -> io::Result<OwnedFd> {
    // First all out of the way of the numbers that are about to be given out.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, HIGH_FD);
    let listener = high(&fds.agent_listener)?;
    let config = high(&fds.agent_config)?;
    let program = high(&fds.agent_program)?;
    let git = high(&fds.git_program)?;
    let log = high(&fds.agent_log)?;
    let limits = fds
        .agent_limits
        .iter()
        .map(high)
        .collect::<Result<Vec<_>, _>>()?;
    let null = fs::OpenOptions::new().read(true).open("/dev/null")?;
    for (from, to) in [
        (null.as_raw_fd(), 0),
        (log.as_raw_fd(), 1),
        (log.as_raw_fd(), 2),
        (listener.as_raw_fd(), AGENT_LISTENER_FD),
        (config.as_raw_fd(), AGENT_CONFIG_FD),
        (git.as_raw_fd(), AGENT_GIT_FD),
    ] {
        system::duplicate_onto(from, to)?;
    }
    for (to, from) in (AGENT_LIMITS_FD..).zip(&limits) {
        system::duplicate_onto(from.as_raw_fd(), to)?;
    }
    Ok(program)
}
