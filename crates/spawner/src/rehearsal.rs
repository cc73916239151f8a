//! `alcove-spawner rehearse`: tries on this host what a sandbox's first process needs, and tells.
//!
//! The answer is one line of JSON ([`Rehearsal`]). The program then waits for the end of its standard input, so
//! that whoever asked can take the user namespace from the process that it names; with the end, all is gone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use alcove_spawner::protocol::{REHEARSAL_ID_BASE, Refusal, Rehearsal, Step};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::seccomp::Filter;
use crate::server::{map_ids, namespaces};
use crate::system::{self, Clone};
use crate::{child, devices, stage};

/// Each kind on its own, so that the one that is missing can be named.
const KINDS: [(&str, i32); 7] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
];

pub fn run() -> io::Result<()> {
    let refused_namespaces = KINDS
        .into_iter()
        .filter_map(|(kind, flag)| Some((kind.to_owned(), try_namespace(flag).err()?)))
        .map(|(kind, error)| (kind, error.raw_os_error().unwrap_or(0)))
        .collect();
    let holder = hold_user_namespace();
    let refusal = rehearse();
    let rehearsal = Rehearsal {
        refused_namespaces,
        user_namespace_pid: holder.as_ref().ok().copied(),
        refusal,
    };
    let mut line = serde_json::to_vec(&rehearsal)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()?;
    // Whatever comes is of no interest; the end is.
    let mut rest = Vec::new();
    let _ = io::stdin().lock().take(4096).read_to_end(&mut rest);
    if let Ok(pid) = holder {
        end(pid);
    }
    Ok(())
}

fn try_namespace(flag: i32) -> io::Result<()> {
    // Root's, so that the answer is about the kind and not about an owner.
    match system::clone3(u64::from(flag.unsigned_abs()), None, 0)? {
        Clone::Child => system::exit_now(0),
        Clone::Parent { pid, .. } => wait(pid),
    }
    Ok(())
}

/// A process in a user namespace with the map of a sandbox, which ends with us.
fn hold_user_namespace() -> io::Result<i32> {
    let flags = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    match system::clone3(flags, None, REHEARSAL_ID_BASE)? {
        Clone::Child => {
            system::end_with_parent();
            loop {
                system::pause();
            }
        }
        Clone::Parent { pid, .. } => match map_ids(pid, REHEARSAL_ID_BASE) {
            Ok(()) => Ok(pid),
            Err(error) => {
                end(pid);
                Err(error)
            }
        },
    }
}

/// The whole way of a sandbox's process. Comes last: the host's tree is left for it.
fn rehearse() -> Option<Refusal> {
    let refused = |step: Step| {
        move |error: io::Error| Refusal {
            step,
            errno: error.raw_os_error().unwrap_or(0),
        }
    };
    let try_it = || -> Result<Option<Refusal>, Refusal> {
        let filter = Filter::compile().map_err(|_| Refusal {
            step: Step::LoadSeccomp,
            errno: 0,
        })?;
        stage::enter().map_err(refused(Step::Stage))?;
        let devices = devices::make(REHEARSAL_ID_BASE).map_err(refused(Step::MountDev))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| refused(Step::Request)(e.into()));
        let (go_read, go_write) = pipe()?;
        let (status_read, status_write) = pipe()?;
        let pid = match system::clone3(namespaces(), None, REHEARSAL_ID_BASE)
            .map_err(refused(Step::Clone))?
        {
            Clone::Child => {
                drop((go_write, status_read));
                child::rehearse(&devices, &filter, go_read, status_write);
            }
            Clone::Parent { pid, .. } => pid,
        };
        drop((go_read, status_write));
        let mapped = map_ids(pid, REHEARSAL_ID_BASE);
        if mapped.is_ok() {
            // A child that is already gone tells so through its status pipe.
            let _ = rustix::io::write(go_write.as_fd(), b"g");
        }
        drop(go_write);
        let mut report = Vec::new();
        let read = File::from(status_read).read_to_end(&mut report);
        wait(pid);
        mapped.map_err(refused(Step::MapIds))?;
        read.map_err(refused(Step::Request))?;
        Ok((!report.is_empty()).then(|| {
            let (step, errno) = child::read_report(&report);
            Refusal { step, errno }
        }))
    };
    try_it().unwrap_or_else(Some)
}

fn end(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    wait(pid);
}

fn wait(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    }
}
