//! What a server leaves on its host: the things that a test counts before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::wait;

/// Everything on the host that belongs to one instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    pub cgroups: BTreeSet<String>,
    pub interfaces: BTreeSet<String>,
    pub loop_devices: BTreeSet<String>,
    pub mounts: BTreeSet<String>,
    pub disks: BTreeSet<String>,
    pub archives: BTreeSet<String>,
    pub sockets: BTreeSet<String>,
    pub records: BTreeSet<String>,
    pub processes: BTreeSet<String>,
}

impl Traces {
    /// Looks for traces of the instance with this data folder, control group parent and interface prefix.
    /// Parts that wait in the pools are left out: they belong to no sandbox.
    pub fn of(
        data_dir: &Path,
        cgroup_parent: &str,
        interface_prefix: &str,
        ready: &ReadyParts,
    ) -> Self {
        let runner = data_dir.join("runner");
        Self {
            cgroups: cgroups(cgroup_parent),
            interfaces: names(Path::new("/sys/class/net"))
                .into_iter()
                .filter(|name| name.starts_with(interface_prefix))
                .filter(|name| !ready.interfaces.contains(name))
                .collect(),
            loop_devices: loop_devices(data_dir),
            mounts: mounts(data_dir),
            disks: names(&runner.join("disks"))
                .into_iter()
                .filter(|name| !name.starts_with('.') && !name.starts_with('+'))
                .collect(),
            archives: names(&data_dir.join("archive")),
            sockets: names(&data_dir.join("run"))
                .into_iter()
                .filter(|n| n != "spawner")
                .collect(),
            records: names(&runner.join("journal")),
            processes: agents(cgroup_parent),
        }
    }
}

/// Waits until nothing of any sandbox is left.
///
/// # Panics
/// With what is left, when something is.
pub async fn until_no_traces(look: impl Fn() -> Traces) {
    wait::until("a host without sandboxes", async || {
        let traces = look();
        if traces == Traces::default() {
            Ok(())
        } else {
            Err(traces)
        }
    })
    .await;
}

/// Interfaces that wait for a sandbox.
#[derive(Debug, Default)]
pub struct ReadyParts {
    pub interfaces: BTreeSet<String>,
}

/// Names in a folder; none where it does not exist.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Mount points of all control group trees.
pub fn cgroup_trees() -> Vec<std::path::PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        matches!(fields.next()?, "cgroup" | "cgroup2").then(|| point.into())
    });
    points.collect()
}

fn cgroups(parent: &str) -> BTreeSet<String> {
    let folders = cgroup_trees().into_iter().map(|tree| tree.join(parent));
    folders
        .flat_map(|folder| {
            let is_group = |name: &String| folder.join(name).is_dir();
            names(&folder)
                .into_iter()
                .filter(is_group)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn agents(parent: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for pid in names(Path::new("/proc"))
        .into_iter()
        .filter(|n| n.parse::<u32>().is_ok())
    {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups
            .lines()
            .any(|line| line.contains(&format!("/{parent}/")))
        {
            found.insert(pid);
        }
    }
    found
}

fn loop_devices(below: &Path) -> BTreeSet<String> {
    let is_loop = |name: &String| name.starts_with("loop");
    names(Path::new("/sys/block"))
        .into_iter()
        .filter(is_loop)
        .filter_map(|name| {
            let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
            let file = file.trim_end();
            // Those of the pool carry a plus sign.
            let name = Path::new(file).file_name()?.to_str()?;
            (Path::new(file).starts_with(below) && !name.starts_with('+')).then(|| file.to_owned())
        })
        .collect()
}

fn mounts(below: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(1));
    points
        .filter(|point| Path::new(point).starts_with(below))
        .map(str::to_owned)
        .collect()
}
