//! How many sandboxes the host has room for, as far as settings of the kernel and of this process say.

use std::fs;

use super::{Check, Subject};

/// Below this many descriptors a server cannot hold a few hundred sandboxes and their connections.
const DESCRIPTORS_WISH: u64 = 4096;

const PROCESSES_WISH: u64 = 4096;

/// 256 processes for each of 256 sandboxes.
const PROCESS_NUMBERS_WISH: u64 = 65_536;

/// The kernel's own default. Each sandbox has its own share.
const WATCHERS_WISH: u64 = 128;

/// Network namespaces are made by the server, one a sandbox; the other kinds count for each sandbox alone.
const NAMESPACES_WISH: u64 = 1000;

const MOUNTS_WISH: u64 = 10_000;

const MEMORY_WISH: u64 = 1 << 30;

const DESCRIPTORS: Subject = Subject::wished("descriptors", "4,096 open files or more");
const PROCESSES: Subject = Subject::wished("process-limit", "4,096 processes a user or more");
const LOCKED: Subject = Subject::wished("locked-memory", "any limit of locked memory");
const NUMBERS: Subject = Subject::wished("process-numbers", "65,536 process numbers or more");
const WATCHERS: Subject = Subject::wished("file-watchers", "128 inotify instances a user or more");
const NAMESPACES: Subject =
    Subject::required("namespace-limits", "1,000 namespaces of each kind or more");
const MOUNTS: Subject = Subject::wished("mount-limit", "10,000 mounts or more");
const MEMORY: Subject = Subject::wished("memory", "1 GiB of memory available or more");

/// Kinds as the settings `user.max_*_namespaces` spell them.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

pub(super) fn checks() -> Vec<Check> {
    use rustix::process::{Resource, getrlimit};
    let hard = |resource| getrlimit(resource).maximum;
    let setting = |name: &str| number(&format!("/proc/sys/{name}"));
    let namespaces: Vec<(&str, Option<u64>)> = KINDS
        .into_iter()
        .map(|kind| (kind, setting(&format!("user/max_{kind}_namespaces"))))
        .collect();
    vec![
        at_least(
            &DESCRIPTORS,
            hard(Resource::Nofile),
            DESCRIPTORS_WISH,
            "Raise the hard limit for open files (LimitNOFILE= in a systemd unit).",
        ),
        at_least(
            &PROCESSES,
            hard(Resource::Nproc),
            PROCESSES_WISH,
            "Raise the hard limit for processes (LimitNPROC= in a systemd unit).",
        ),
        LOCKED.ok(hard(Resource::Memlock).map_or_else(
            || "no limit".to_owned(),
            |bytes| format!("at most {} MiB", bytes >> 20),
        )),
        at_least_setting(
            &NUMBERS,
            setting("kernel/pid_max"),
            PROCESS_NUMBERS_WISH,
            "Raise kernel.pid_max (sysctl): all processes of all sandboxes share the numbers.",
        ),
        at_least_setting(
            &WATCHERS,
            setting("fs/inotify/max_user_instances"),
            WATCHERS_WISH,
            "Raise fs.inotify.max_user_instances (sysctl): no sandbox has more.",
        ),
        judge_namespaces(&namespaces),
        at_least_setting(
            &MOUNTS,
            setting("fs/mount-max"),
            MOUNTS_WISH,
            "Raise fs.mount-max (sysctl).",
        ),
        judge_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
    ]
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `None` is no limit.
fn at_least(subject: &Subject, limit: Option<u64>, wish: u64, advice: &'static str) -> Check {
    match limit {
        None => subject.ok("no limit"),
        Some(limit) if limit >= wish => subject.ok(format!("at most {limit}")),
        Some(limit) => subject.lacking(format!("at most {limit}"), advice),
    }
}

/// `None` is a setting that this kernel does not have.
fn at_least_setting(
    subject: &Subject,
    value: Option<u64>,
    wish: u64,
    advice: &'static str,
) -> Check {
    match value {
        None => subject.ok("no such setting"),
        value => at_least(subject, value, wish, advice),
    }
}

/// Only a limit of zero keeps the server from starting: with a low one, the first sandboxes work.
fn judge_namespaces(limits: &[(&str, Option<u64>)]) -> Check {
    let lowest = limits
        .iter()
        .filter_map(|(kind, limit)| Some((*kind, (*limit)?)))
        .min_by_key(|(_, limit)| *limit);
    let Some((kind, limit)) = lowest else {
        return NAMESPACES.ok("no such settings");
    };
    let found = format!("at most {limit} of kind {kind}");
    let advice = format!("Raise user.max_{kind}_namespaces (sysctl).");
    match limit {
        0 => NAMESPACES.lacking(found, advice),
        low if low < NAMESPACES_WISH => NAMESPACES.degraded(found, advice),
        _ => NAMESPACES.ok(found),
    }
}

fn judge_memory(info: &str) -> Check {
    match crate::host::available_memory(info) {
        None => MEMORY.not_tried(),
        Some(bytes) if bytes >= MEMORY_WISH => MEMORY.ok(format!("{} MiB available", bytes >> 20)),
        Some(bytes) => MEMORY.lacking(
            format!("{} MiB available", bytes >> 20),
            "Free some, or add some: a sandbox is refused when the host has too little left.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status::{Degraded, Missing, Ok as Fine};
    use super::*;

    #[test]
    fn limits_are_compared_with_what_is_wished() {
        for (limit, expected) in [
            (None, Fine),
            (Some(4096), Fine),
            (Some(4095), Degraded),
            (Some(0), Degraded),
        ] {
            let check = at_least(&DESCRIPTORS, limit, DESCRIPTORS_WISH, "z");
            assert_eq!(check.status, expected, "{limit:?}");
            let check = at_least_setting(&NUMBERS, limit, DESCRIPTORS_WISH, "z");
            assert_eq!(check.status, expected, "{limit:?}");
        }
    }

    #[test]
    fn namespaces_that_cannot_be_made_at_all_keep_the_server_from_starting() {
        for (user, net, expected) in [
            (Some(5000), Some(5000), Fine),
            (Some(5000), Some(999), Degraded),
            (Some(0), Some(5000), Missing),
            (None, None, Fine),
        ] {
            let check = judge_namespaces(&[("user", user), ("net", net)]);
            assert_eq!(check.status, expected, "{user:?} {net:?}");
        }
        let check = judge_namespaces(&[("user", Some(0)), ("net", Some(1))]);
        assert_eq!(check.advice, "Raise user.max_user_namespaces (sysctl).");
    }

    #[test]
    fn memory_is_judged_by_what_is_available() {
        assert_eq!(judge_memory("MemAvailable:  1048576 kB\n").status, Fine);
        assert_eq!(judge_memory("MemAvailable:  1048575 kB\n").status, Degraded);
    }
}
