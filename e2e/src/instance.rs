//! One instance on the host, by its names: what it claims, what is there of it, and its removal by force.
//!
//! A test that panics closes nothing. What it leaves (a gateway address, a firewall table, control groups with
//! sandboxes in them, a spawner) would stand in the way of later tests, so an [`Instance`] takes it all away when
//! it is dropped. Everything is found by names that only this instance has; nothing else is touched.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use alcove_runner::RunnerConfig;
use alcove_runner::net::Ipv4Pool;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host::{ReadyParts, Traces, cgroup_trees, names};

/// Address pools of tests: the networks of 22 bits in 10.201.0.0 to 10.209.255.255.
const POOLS: u32 = 9 * 64;

/// How long the kernel may take to let go of what killed processes held.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(30);

/// Claims of this process. Kept until it ends: a pool that has just been given back may still be in the tables of
/// the kernel.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A pool that no other test uses: not in this process, not in one that runs beside it, and not one whose gateway
/// address a killed run has left behind.
///
/// # Panics
/// When there are more tests than pools.
pub fn own_pool() -> Ipv4Pool {
    let taken = host_addresses();
    let first = std::process::id() * 31 % POOLS;
    for number in (0..POOLS).map(|step| (first + step) % POOLS) {
        let (second, third) = (201 + number / 64, number % 64 * 4);
        let pool: Ipv4Pool = format!("10.{second}.{third}.0/22")
            .parse()
            .expect("the text is built from bounded numbers");
        if taken.contains(&pool.gateway()) {
            continue;
        }
        // The kernel gives an abstract name to one process only, and takes it back however that ends.
        let name = SocketAddr::from_abstract_name(format!("alcove-e2e-pool-{pool}"))
            .expect("the name is short");
        if let Ok(claim) = UnixListener::bind_addr(&name) {
            CLAIMS
                .lock()
                .expect("nothing panics with the lock held")
                .push(claim);
            return pool;
        }
    }
    panic!("more tests than address pools");
}

/// The IPv4 addresses of this host.
fn host_addresses() -> BTreeSet<Ipv4Addr> {
    let text = run("ip", &["-4", "-o", "address", "show"]).unwrap_or_default();
    let fields = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    fields
        .filter_map(|field| field.split('/').next()?.parse().ok())
        .collect()
}

/// The names by which everything of an instance is found.
#[derive(Debug, Clone)]
pub struct Names {
    pub data_dir: PathBuf,
    pub cgroup_parent: String,
    pub interface_prefix: String,
    pub table: String,
    pub gateway: Ipv4Addr,
}

impl Names {
    pub fn of(config: &RunnerConfig) -> Self {
        Self {
            data_dir: config.data_dir.clone(),
            cgroup_parent: config.cgroup_parent.clone(),
            interface_prefix: config.network.prefix.clone(),
            table: config.network.table.clone(),
            gateway: config.network.pool.gateway(),
        }
    }

    /// What there is of sandboxes.
    pub fn traces(&self) -> Traces {
        Traces::of(
            &self.data_dir,
            &self.cgroup_parent,
            &self.interface_prefix,
            &ReadyParts::default(),
        )
    }

    /// What there is of the instance itself, which stays when the last sandbox is gone.
    pub fn foundations(&self) -> Foundations {
        let parents = cgroup_trees()
            .into_iter()
            .map(|t| t.join(&self.cgroup_parent));
        Foundations {
            spawners: self.spawners(),
            has_table: run("nft", &["list", "table", "inet", &self.table]).is_some(),
            has_gateway: host_addresses().contains(&self.gateway),
            has_groups: parents.into_iter().any(|parent| parent.is_dir()),
        }
    }

    /// A spawner is known by its log, which lies in the data folder.
    fn spawners(&self) -> BTreeSet<i32> {
        let log = self.data_dir.join("runner/spawner.log");
        let pids = names(Path::new("/proc"))
            .into_iter()
            .filter_map(|n| n.parse().ok());
        pids.filter(|pid: &i32| {
            fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|to| to == log)
        })
        // A child on its way to the agent's program has the same descriptors; it goes with its group.
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|c| c.starts_with("alcove-spawner"))
        })
        .collect()
    }

    /// Ends all processes of the instance and removes what it has on the host, except for the data folder. Can be
    /// called in any state and while a panic unwinds; blocks.
    ///
    /// # Errors
    /// What is still there after the deadline.
    pub fn remove(&self) -> Result<(), Box<Leftovers>> {
        let deadline = Instant::now() + REMOVAL_DEADLINE;
        let mut pause = Duration::from_millis(1);
        loop {
            self.remove_once();
            let (traces, foundations) = (self.traces(), self.foundations());
            // Files go with the data folder.
            let is_clean = traces.cgroups.is_empty()
                && traces.interfaces.is_empty()
                && traces.loop_devices.is_empty()
                && traces.processes.is_empty();
            if is_clean && foundations == Foundations::default() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Box::new(Leftovers {
                    traces,
                    foundations,
                }));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn remove_once(&self) {
        // Spawners first, so that no sandbox is born behind our back. What is missing by now is no failure: the
        // caller looks again.
        for pid in self.spawners() {
            kill(pid);
        }
        for parent in cgroup_trees()
            .into_iter()
            .map(|t| t.join(&self.cgroup_parent))
        {
            for group in names(&parent).into_iter().map(|name| parent.join(name)) {
                let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                members
                    .lines()
                    .filter_map(|pid| pid.parse().ok())
                    .for_each(kill);
                let _ = fs::remove_dir(&group);
            }
            let _ = fs::remove_dir(&parent);
        }
        for interface in self.traces().interfaces {
            run("ip", &["link", "delete", &interface]);
        }
        let foundations = self.foundations();
        if foundations.has_table {
            run("nft", &["delete", "table", "inet", &self.table]);
        }
        if foundations.has_gateway {
            let address = format!("{}/32", self.gateway);
            run("ip", &["address", "delete", &address, "dev", "lo"]);
        }
    }
}

/// What an instance needs whether or not a sandbox runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Foundations {
    pub spawners: BTreeSet<i32>,
    pub has_table: bool,
    pub has_gateway: bool,
    pub has_groups: bool,
}

/// What could not be removed.
#[derive(Debug)]
pub struct Leftovers {
    pub traces: Traces,
    pub foundations: Foundations,
}

/// An instance for as long as its test runs. Dropping it removes all of it from the host.
#[derive(Debug)]
pub struct Instance {
    pub names: Names,
    // Goes last: it holds the log by which the spawner is known.
    folder: tempfile::TempDir,
}

impl Instance {
    pub fn new(folder: tempfile::TempDir, config: &RunnerConfig) -> Self {
        Self {
            names: Names::of(config),
            folder,
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(leftovers) = self.names.remove() {
            // A second panic would end the whole test program, and with it the report of the first.
            let folder = self.folder.path().display();
            eprintln!("the instance in {folder} cannot be removed from the host: {leftovers:?}");
        }
    }
}

fn kill(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else {
        return;
    };
    // A process that is gone by now needs no signal.
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

/// What the program prints, if it succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
