//! Which processes belong to one command or session, and how all of them are ended.
//!
//! Parents, process groups and sessions do not answer that: a program that forks twice, calls `setsid` or
//! outlives its parent leaves all three behind, and an environment variable is lost by `env -i` and
//! unreadable for what runs under `sudo`. The agent therefore marks each job with a value that the kernel
//! itself hands down: the soft limit of file locks (`RLIMIT_LOCKS`), which Linux has not enforced since 2.4.
//! It passes through fork, exec, `setsid`, re-parenting and change of user, costs no process and no memory,
//! and anyone may read it. A program that sets this one limit on purpose can leave its job; it stays in the
//! sandbox, whose end takes everything. A supervisor process per job, the other sound way, costs each
//! command a second process and can be killed by the user it watches.
//!
//! Where the limit cannot be set, the children by parent links and the kernel session remain.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, timeout_at};

use crate::sys::{soft_lock_limit, watch_readable};

/// Rounds of SIGKILL before we give up on processes that the kernel does not let go.
const KILL_ROUNDS: usize = 64;

/// Time that one round of SIGKILL is given to show.
const KILL_ROUND_TIME: Duration = Duration::from_millis(100);

/// Name of a job that the kernel keeps on all of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobTag(u64);

impl JobTag {
    pub(super) fn lock_limit(self) -> u64 {
        self.0
    }
}

/// Hands out tags. Two agents on one machine do not share any.
#[derive(Debug)]
pub struct JobTags {
    base: u64,
    next: AtomicU64,
}

impl JobTags {
    // Bit 62 keeps tags away from limits that someone may set on purpose; 32 random bits tell agents
    // apart, 30 bits count jobs.
    const MARK: u64 = 1 << 62;
    const COUNTER_BITS: u32 = 30;

    pub fn new(random: u32) -> Self {
        Self {
            base: Self::MARK | (u64::from(random) << Self::COUNTER_BITS),
            next: AtomicU64::new(0),
        }
    }

    pub fn next(&self) -> JobTag {
        let count = self.next.fetch_add(1, Ordering::Relaxed) & ((1 << Self::COUNTER_BITS) - 1);
        JobTag(self.base | count)
    }

    fn is_tag(limit: u64) -> bool {
        limit >> 62 == Self::MARK >> 62
    }

    /// All jobs of this agent.
    pub fn all(&self) -> Members {
        Members {
            base: self.base,
            mask: !((1 << Self::COUNTER_BITS) - 1),
            root: None,
            is_everyone: std::process::id() == 1,
        }
    }
}

/// Rule that picks the processes of a job.
#[derive(Debug, Clone, Copy)]
pub struct Members {
    base: u64,
    mask: u64,
    /// First process of the job; its descendants and its kernel session belong to it too.
    root: Option<i32>,
    /// All of the sandbox but process 1.
    is_everyone: bool,
}

impl Members {
    /// The processes of one job whose first process is or was `root`.
    pub fn of(tag: JobTag, root: i32) -> Self {
        Self {
            base: tag.0,
            mask: u64::MAX,
            root: Some(root),
            is_everyone: false,
        }
    }

    /// Asks all to end, waits for at most `grace`, then kills what is left.
    pub async fn terminate(self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let mut asked = HashSet::new();
        loop {
            let found = self.find();
            if found.is_empty() {
                return;
            }
            for process in &found {
                if asked.insert(process.pid) {
                    process.signal(Signal::TERM);
                    // A stopped process acts on nothing but this.
                    process.signal(Signal::CONT);
                }
            }
            if !all_exited(found, deadline).await {
                break;
            }
        }
        self.kill().await;
    }

    /// Sends a signal to all, once.
    pub fn signal(self, signal: Signal) {
        for process in self.find() {
            process.signal(signal);
        }
    }

    /// Kills all, until none is found any more.
    pub async fn kill(self) {
        for _ in 0..KILL_ROUNDS {
            let found = self.find();
            if found.is_empty() {
                return;
            }
            for process in &found {
                process.signal(Signal::KILL);
            }
            all_exited(found, Instant::now() + KILL_ROUND_TIME).await;
        }
        crate::log::warn(format_args!(
            "processes of a job are left after {KILL_ROUNDS} rounds of SIGKILL"
        ));
    }

    fn picks(self, tag: Option<u64>) -> bool {
        self.is_everyone || tag.is_some_and(|tag| tag & self.mask == self.base)
    }

    fn find(self) -> Vec<Process> {
        let own = std::process::id().cast_signed();
        let mut found = Vec::new();
        let mut others = HashMap::new();
        for pid in all_pids() {
            if pid == own || pid == 1 {
                continue;
            }
            let tag = tag_of(pid);
            if self.picks(tag) {
                // Opened first and checked again: the number may have changed hands since the look.
                found.extend(Process::open(pid).filter(|_| self.picks(tag_of(pid))));
            } else if self.root.is_some()
                // Whoever bears another job's tag is that job's, even if it has the number that the first
                // process of this one once had.
                && !tag.is_some_and(JobTags::is_tag)
                && let Some(kin) = Kin::of(pid)
            {
                others.insert(pid, kin);
            }
        }
        if let Some(root) = self.root {
            let kept: HashSet<i32> = found.iter().map(|process| process.pid).collect();
            found.extend(
                others
                    .iter()
                    .filter(|(pid, _)| descends(**pid, root, &kept, &others))
                    .filter_map(|(pid, _)| Process::open(*pid)),
            );
        }
        found
    }
}

/// Whether `pid` is `root`, in its session, or below it or below a marked process.
fn descends(pid: i32, root: i32, marked: &HashSet<i32>, others: &HashMap<i32, Kin>) -> bool {
    // As deep as the list is long at most, even if numbers change hands while we look.
    let mut current = pid;
    for _ in 0..=others.len() {
        if current == root || marked.contains(&current) {
            return true;
        }
        match others.get(&current) {
            Some(kin) if kin.session == root => return true,
            Some(kin) => current = kin.parent,
            None => return false,
        }
    }
    false
}

struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// None if the process is gone, or has exited and is not reaped yet.
    fn open(pid: i32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let has_exited = poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0);
        (!has_exited).then_some(Self { pid, pidfd })
    }

    fn signal(&self, signal: Signal) {
        // Gone is as good as signalled. Not allowed does not happen in a sandbox, see `sys::identity`.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), signal);
    }
}

/// Whether all had exited by the deadline.
async fn all_exited(processes: Vec<Process>, deadline: Instant) -> bool {
    for process in processes {
        let Ok(exit) = watch_readable(process.pidfd) else {
            return false;
        };
        if timeout_at(deadline, exit.readable()).await.is_err() {
            return false;
        }
    }
    true
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn tag_of(pid: i32) -> Option<u64> {
    // The call is refused for processes of other users, such as those under `sudo`; the file is not.
    soft_lock_limit(pid).ok().or_else(|| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        parse_lock_limit(&limits)
    })
}

fn parse_lock_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max file locks"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

struct Kin {
    parent: i32,
    session: i32,
}

impl Kin {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold anything, parentheses and spaces included.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Self { parent, session })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_limits_file_tells_the_tag() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max locked memory         8388608              8388608              bytes     \n\
                    Max file locks            4611686018427387911  unlimited            locks     \n";
        assert_eq!(parse_lock_limit(text), Some(4_611_686_018_427_387_911));
        assert_eq!(
            parse_lock_limit("Max file locks   unlimited  unlimited  locks"),
            None
        );
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_hide_the_parent() {
        let kin = Kin::parse("12 (a) S (b)) R 7 12 9 0 -1 4194560").unwrap();
        assert_eq!((kin.parent, kin.session), (7, 9));
    }

    #[test]
    fn tags_of_two_agents_differ_and_belong_to_their_own() {
        let (one, two) = (JobTags::new(1), JobTags::new(2));
        let tag = one.next();
        assert_ne!(tag, two.next());
        assert_ne!(tag, one.next());
        assert_eq!(tag.0 & one.all().mask, one.all().base);
        assert_ne!(tag.0 & two.all().mask, two.all().base);
    }

    #[test]
    fn kin_are_found_through_marked_parents_and_sessions() {
        let kin = |parent, session| Kin { parent, session };
        let others = HashMap::from([
            (10, kin(1, 10)),
            (11, kin(10, 10)),
            (12, kin(1, 5)),
            (13, kin(12, 13)),
            (20, kin(99, 20)),
        ]);
        let marked = HashSet::from([99]);
        let of_root = |pid| descends(pid, 10, &marked, &others);
        assert!(of_root(10) && of_root(11) && of_root(20));
        assert!(!of_root(12) && !of_root(13));
        assert!(descends(12, 5, &marked, &others), "same kernel session");
    }
}
