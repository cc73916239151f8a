//! Namespaces, id maps, mounts and the system call filter: the spawner rehearses a sandbox's birth.
//!
//! It does so in a small process of its own, since a process that has threads can neither make a user namespace nor
//! be copied cheaply.

use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alcove_spawner::protocol::{Refusal, Rehearsal, Step};

use super::{Check, Subject, Trouble};

/// The rehearsal takes some 10 ms.
const DEADLINE: Duration = Duration::from_secs(5);

const END_PATIENCE: Duration = Duration::from_millis(500);

const NAMESPACES: Subject = Subject::required(
    "namespaces",
    "user, mnt, pid, net, ipc, uts and cgroup namespaces",
);
const ID_MAP: Subject = Subject::required("id-map", "65,536 user and group ids for a sandbox");
const FIRST_PROCESS: Subject = Subject::required(
    "first-process",
    "a process that mounts its own /proc, /dev and root in its namespaces",
);
const SECCOMP: Subject = Subject::required("seccomp", "system call filters");

/// What the rehearsal brought.
#[derive(Debug)]
pub(super) struct Outcome {
    rehearsal: Rehearsal,
    pub user_namespace: Option<OwnedFd>,
}

pub(super) async fn try_out(program: &Path) -> Result<Outcome, Trouble> {
    let program = program.to_owned();
    let failed = |error: io::Error| Trouble::io("rehearse", &error);
    let trial = tokio::task::spawn_blocking(move || run(&program));
    match tokio::time::timeout(DEADLINE, trial).await {
        Ok(Ok(result)) => result.map_err(failed),
        Ok(Err(error)) => Err(failed(io::Error::other(error))),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// Ends the rehearsing process on every way out.
struct Rehearsing(Child);

impl Drop for Rehearsing {
    fn drop(&mut self) {
        // The end of its input is its end, in which it waits for its own children; a kill is for one that hangs.
        drop(self.0.stdin.take());
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.0.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &Path) -> io::Result<Outcome> {
    let child = Command::new(program)
        .arg("rehearse")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut process = Rehearsing(child);
    let output = process.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let rehearsal: Rehearsal = serde_json::from_str(&line)?;
    let open = |pid| {
        rustix::fs::open(
            format!("/proc/{pid}/ns/user"),
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
    };
    // Only the idmapped mount misses it, and says so.
    let user_namespace = rehearsal.user_namespace_pid.and_then(|pid| open(pid).ok());
    Ok(Outcome {
        rehearsal,
        user_namespace,
    })
}

pub(super) fn judge(outcome: &Result<Outcome, Trouble>) -> Vec<Check> {
    match outcome {
        Ok(outcome) => verdicts(&outcome.rehearsal),
        Err(trouble) => {
            let advice =
                "See that programs may be executed from the data folder (a mount without noexec).";
            vec![
                FIRST_PROCESS.judge(Some(&Err(trouble.clone())), advice),
                NAMESPACES.not_tried(),
                ID_MAP.not_tried(),
                SECCOMP.not_tried(),
            ]
        }
    }
}

fn verdicts(rehearsal: &Rehearsal) -> Vec<Check> {
    let refused = &rehearsal.refused_namespaces;
    let namespaces = if refused.is_empty() {
        NAMESPACES.ok("all seven kinds can be made")
    } else {
        let list: Vec<String> = refused
            .iter()
            .map(|(kind, errno)| format!("{kind}: {}", io::Error::from_raw_os_error(*errno)))
            .collect();
        NAMESPACES.lacking(
            format!("refused: {}", list.join("; ")),
            namespace_advice(refused),
        )
    };
    let has_user_namespace = !refused.iter().any(|(kind, _)| kind == "user");
    let id_map = match rehearsal.user_namespace_pid {
        Some(_) => ID_MAP.ok("65,536 ids can be mapped"),
        None if has_user_namespace => ID_MAP.lacking(
            "the map is refused",
            "Run the server with CAP_SETUID and CAP_SETGID in the host's own user namespace.",
        ),
        None => ID_MAP.not_tried(),
    };
    let (first_process, seccomp) = match rehearsal.refusal {
        None => (
            FIRST_PROCESS.ok("came up in a rehearsal"),
            SECCOMP.ok("loaded in a rehearsal"),
        ),
        Some(refusal) if refusal.step == Step::LoadSeccomp => (
            FIRST_PROCESS.ok("came up in a rehearsal"),
            SECCOMP.lacking(text_of(refusal), "Use a kernel with CONFIG_SECCOMP_FILTER."),
        ),
        Some(refusal) => (
            FIRST_PROCESS.lacking(text_of(refusal), step_advice(refusal)),
            SECCOMP.not_tried(),
        ),
    };
    vec![namespaces, id_map, first_process, seccomp]
}

fn text_of(refusal: Refusal) -> String {
    let reason = io::Error::from_raw_os_error(refusal.errno);
    format!("step {:?} failed: {reason}", refusal.step)
}

fn namespace_advice(refused: &[(String, i32)]) -> &'static str {
    let has = |errno| refused.iter().any(|(_, found)| *found == errno);
    if has(libc::ENOSPC) {
        "Raise the settings user.max_*_namespaces (sysctl), of which one is used up or zero."
    } else if has(libc::EPERM) {
        "Run the server as root with CAP_SYS_ADMIN, outside of a container that forbids namespaces."
    } else if has(libc::EINVAL) {
        "Use a kernel that was built with these namespaces."
    } else {
        "See the reason that the kernel gives."
    }
}

fn step_advice(refusal: Refusal) -> &'static str {
    match (refusal.step, refusal.errno) {
        (Step::MountProc, libc::EPERM) => {
            "Parts of the server's own /proc are covered, as container engines do; run it on the host, or in a \
             container with an unmasked /proc."
        }
        (Step::Clone | Step::MapIds, libc::ENOSPC) => {
            "Raise the settings user.max_*_namespaces (sysctl)."
        }
        (_, libc::EPERM | libc::EACCES) => {
            "Run the server as root with CAP_SYS_ADMIN, outside of a container or a security profile that forbids mounts."
        }
        _ => "See the reason that the kernel gives.",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn rehearsal(refused: &[(&str, i32)], refusal: Option<(Step, i32)>) -> Rehearsal {
        Rehearsal {
            refused_namespaces: refused
                .iter()
                .map(|(kind, errno)| ((*kind).to_owned(), *errno))
                .collect(),
            user_namespace_pid: (!refused.iter().any(|(kind, _)| *kind == "user")).then_some(7),
            refusal: refusal.map(|(step, errno)| Refusal { step, errno }),
        }
    }

    #[test]
    fn what_the_rehearsal_found_is_said_of_the_right_thing() {
        use Status::{Degraded, Missing, Ok as Fine};
        let no_users = ("user", libc::ENOSPC);
        for (rehearsal, expected, word) in [
            (rehearsal(&[], None), [Fine; 4], "seven"),
            (
                rehearsal(&[no_users], Some((Step::Clone, libc::ENOSPC))),
                [Missing, Degraded, Missing, Degraded],
                "max_*_namespaces",
            ),
            (
                rehearsal(&[("net", libc::EPERM)], Some((Step::Stage, libc::EPERM))),
                [Missing, Fine, Missing, Degraded],
                "CAP_SYS_ADMIN",
            ),
            (
                rehearsal(&[], Some((Step::MountProc, libc::EPERM))),
                [Fine, Fine, Missing, Degraded],
                "unmasked",
            ),
            (
                rehearsal(&[], Some((Step::LoadSeccomp, libc::EINVAL))),
                [Fine, Fine, Fine, Missing],
                "CONFIG_SECCOMP_FILTER",
            ),
        ] {
            let checks = verdicts(&rehearsal);
            let statuses: Vec<Status> = checks.iter().map(|check| check.status).collect();
            assert_eq!(statuses, expected, "{rehearsal:?}");
            let all = format!("{checks:?}");
            assert!(all.contains(word), "{word} in {all}");
        }
    }

    #[test]
    fn ids_that_cannot_be_mapped_are_told_apart_from_no_namespace_at_all() {
        let mut found = rehearsal(&[], None);
        found.user_namespace_pid = None;
        assert_eq!(verdicts(&found)[1].status, Status::Missing);
    }

    #[test]
    fn a_program_that_cannot_be_run_is_the_first_process_that_is_missing() {
        let trouble = Trouble::io("rehearse", &io::Error::from_raw_os_error(libc::EACCES));
        let checks = judge(&Err(trouble));
        assert_eq!(
            (checks[0].name, checks[0].status),
            ("first-process", Status::Missing)
        );
    }
}
