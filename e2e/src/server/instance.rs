//! One server's things on the host: found by names that follow from its data folder, removed by them.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use alcove_runner::limits::Limits;
use alcove_runner::net::Ipv4Pool;
use alcove_runner::{Programs, RunnerConfig};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{ReadyParts, Traces, names};

/// How long ended processes may take to let go of what they held.
const CLEARED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Instance {
    data_dir: PathBuf,
    cgroup_parent: String,
    prefix: String,
    table: String,
    gateway: Ipv4Addr,
}

impl Instance {
    /// The server with this data folder, which must be as the server sees it.
    pub fn of(data_dir: &Path, pool: Ipv4Pool) -> Self {
        // The one place that turns a folder into names.
        let key = data_dir.as_os_str().as_encoded_bytes();
        let config = RunnerConfig::new(data_dir, key, pool, Programs::default());
        Self {
            data_dir: data_dir.to_owned(),
            cgroup_parent: config.cgroup_parent,
            prefix: config.network.prefix,
            table: config.network.table,
            gateway: pool.gateway(),
        }
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// What sandboxes have on the host.
    pub fn traces(&self) -> Traces {
        let ready = ReadyParts::default();
        Traces::of(&self.data_dir, &self.cgroup_parent, &self.prefix, &ready)
    }

    /// Ids of the sandboxes that have a record, a disk or a control group.
    pub fn sandboxes(&self) -> BTreeSet<String> {
        let traces = self.traces();
        let stem = |name: &String| name.split('.').next().map(str::to_owned);
        let files = traces.records.iter().chain(&traces.disks).filter_map(stem);
        files.chain(traces.cgroups.clone()).collect()
    }

    /// What the server itself has on the host while it, or a sandbox of it, runs.
    pub fn standing_parts(&self) -> BTreeSet<String> {
        let mut parts = BTreeSet::new();
        parts.extend(self.spawners().iter().map(|pid| format!("spawner {pid}")));
        if said("nft", &["list", "tables"]).contains(&self.table) {
            parts.insert(format!("table {}", self.table));
        }
        if self.has_gateway() {
            parts.insert(format!("address {}", self.gateway));
        }
        parts.extend(
            self.interfaces()
                .into_iter()
                .map(|name| format!("interface {name}")),
        );
        parts
    }

    fn has_gateway(&self) -> bool {
        let wanted = format!("inet {}/32 ", self.gateway);
        said("ip", &["-4", "-o", "address", "show", "dev", "lo"]).contains(&wanted)
    }

    fn interfaces(&self) -> Vec<String> {
        let all = names(Path::new("/sys/class/net"));
        all.into_iter()
            .filter(|name| name.starts_with(&self.prefix))
            .collect()
    }

    /// Process numbers of all spawners of this instance, replaced ones included: they write to its log.
    pub fn spawners(&self) -> Vec<i32> {
        let log = self.data_dir.join("runner/spawner.log");
        let pids = names(Path::new("/proc"));
        pids.into_iter()
            .filter_map(|name| name.parse().ok())
            .filter(|pid: &i32| {
                let is_spawner = fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.starts_with("alcove-spawner"));
                is_spawner
                    && fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|file| file == log)
            })
            .collect()
    }

    /// Host process numbers of everything in a sandbox.
    pub fn processes(&self, sandbox: &str) -> Vec<i32> {
        let suffix = format!("/{}/{sandbox}", self.cgroup_parent);
        let is_inside = |pid: &i32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.lines().any(|line| line.ends_with(&suffix))
        };
        let pids = names(Path::new("/proc"));
        pids.into_iter()
            .filter_map(|name| name.parse().ok())
            .filter(is_inside)
            .collect()
    }

    /// Host process number of a sandbox's process 1: the agent.
    ///
    /// # Panics
    /// When the sandbox does not run.
    pub fn agent(&self, sandbox: &str) -> i32 {
        let is_first = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.is_some_and(|numbers| numbers.split_whitespace().last() == Some("1"))
        };
        let found = self.processes(sandbox).into_iter().find(is_first);
        found.unwrap_or_else(|| panic!("{sandbox} has no process 1"))
    }

    /// Path of a sandbox's group in the tree of one controller.
    ///
    /// # Panics
    /// When the host has no such tree.
    fn group(&self, controller: &str, sandbox: &str) -> PathBuf {
        let tree = super::pids::tree(controller).expect("the host has the controller");
        tree.join(&self.cgroup_parent).join(sandbox)
    }

    /// Where the kernel counts the processes of a sandbox that it has killed for want of memory, by the names of
    /// either version of control groups. The line begins with `oom_kill `.
    ///
    /// # Panics
    /// When the host does not limit memory.
    pub fn memory_events(&self, sandbox: &str) -> PathBuf {
        let group = self.group("memory", sandbox);
        let of_version_1 = group.join("memory.oom_control");
        if of_version_1.exists() {
            of_version_1
        } else {
            group.join("memory.events")
        }
    }

    /// What the kernel holds a sandbox to: processors in thousandths, and bytes of memory.
    ///
    /// # Panics
    /// When it is held to nothing.
    pub fn limits(&self, sandbox: &str) -> (u64, u64) {
        let read = |controller, name: &str| -> Option<Vec<u64>> {
            let text = fs::read_to_string(self.group(controller, sandbox).join(name)).ok()?;
            let numbers = text.split_whitespace().map(str::parse);
            numbers.collect::<Result<_, _>>().ok()
        };
        let cpu = read("cpu", "cpu.max").or_else(|| {
            let quota = read("cpu", "cpu.cfs_quota_us")?;
            Some([quota, read("cpu", "cpu.cfs_period_us")?].concat())
        });
        let memory =
            read("memory", "memory.max").or_else(|| read("memory", "memory.limit_in_bytes"));
        let cpu = cpu.expect("a limit of processors");
        let memory = memory.expect("a limit of memory");
        (cpu[0] * 1000 / cpu[1], memory[0])
    }

    /// Leaves a sandbox no more memory than it uses now.
    ///
    /// # Panics
    /// When the limit cannot be set.
    pub fn close_memory(&self, sandbox: &str) {
        let group = self.group("memory", sandbox);
        let (used, limits): (_, &[&str]) = if group.join("memory.max").exists() {
            ("memory.current", &["memory.max"])
        } else {
            let limits = &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
            ("memory.usage_in_bytes", limits)
        };
        let used = fs::read_to_string(group.join(used)).expect("the kernel counts");
        for limit in limits {
            fs::write(group.join(limit), used.trim()).expect("a limit of a sandbox");
        }
    }

    /// Removes everything, the data folder's files excepted. The server must not run any more. What cannot be
    /// removed is told on standard error: this runs while a failed test unwinds.
    pub fn clear(&self) {
        for pid in self.spawners() {
            kill(pid);
        }
        match Limits::open(&self.cgroup_parent) {
            Ok(limits) => {
                for name in limits.names() {
                    let Ok(sandbox) = name.parse() else { continue };
                    let group = limits.group(&sandbox);
                    // A signal does not end what is held still.
                    if let Err(error) = group.thaw().and_then(|()| group.destroy()) {
                        eprintln!("cannot remove the control group {name}: {error}");
                    }
                }
                limits.close();
            }
            Err(error) => eprintln!("cannot look for control groups: {error}"),
        }
        let deadline = Instant::now() + crate::wait::patience(CLEARED_WITHIN);
        loop {
            let traces = self.traces();
            let is_clear = self.interfaces().is_empty()
                && traces.loop_devices.is_empty()
                && traces.mounts.is_empty();
            if is_clear {
                break;
            }
            if Instant::now() > deadline {
                self.clear_by_force(&traces);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if said("nft", &["list", "tables"]).contains(&self.table) {
            said("nft", &["delete", "table", "inet", &self.table]);
        }
        if self.has_gateway() {
            let address = format!("{}/32", self.gateway);
            said("ip", &["address", "delete", &address, "dev", "lo"]);
        }
    }

    fn clear_by_force(&self, traces: &Traces) {
        eprintln!("still on the host, removed by force: {traces:?}");
        for point in &traces.mounts {
            said("umount", &["-l", point]);
        }
        for file in &traces.loop_devices {
            for line in said("losetup", &["-j", file]).lines() {
                if let Some((device, _)) = line.split_once(':') {
                    said("losetup", &["-d", device]);
                }
            }
        }
        for interface in self.interfaces() {
            said("ip", &["link", "delete", &interface]);
        }
    }
}

/// `kill -9` by number; one that is gone needs none.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// What a program printed; nothing where it failed.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
