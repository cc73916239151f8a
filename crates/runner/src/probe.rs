//! What this host can do: the list that `alcove doctor` prints and that the server checks before it starts.
//!
//! Every check looks or tries; none leaves anything behind.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::net::Ipv4Pool;

/// Oldest kernel whose overlayfs takes idmapped lower layers.
const KERNEL_MIN: (u32, u32) = (5, 19);

/// Below this many descriptors a server cannot hold a few hundred sandboxes and their connections.
const DESCRIPTORS_MIN: u64 = 4096;

/// What to look at.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    pub data_dir: PathBuf,
    pub network_pool: Ipv4Pool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Degraded,
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    pub found: String,
    pub need: &'static str,
    pub advice: &'static str,
    /// Whether the server refuses to start without it.
    pub required: bool,
}

/// Looks at the host. Blocking, well under a second.
pub fn probe(request: &ProbeRequest) -> Vec<Check> {
    vec![
        root(),
        kernel(),
        control_groups(),
        program("mkfs.ext4", "the package e2fsprogs"),
        program("nft", "the package nftables"),
        device("/dev/loop-control", "loop devices"),
        descriptors(),
        swap(),
        kvm(),
        space(&request.data_dir),
    ]
}

/// Those without which no sandbox can be made.
pub fn required_failures(checks: &[Check]) -> Vec<&Check> {
    checks
        .iter()
        .filter(|c| c.required && c.status == Status::Missing)
        .collect()
}

/// The list for people.
pub fn render_table(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        let mark = match check.status {
            Status::Ok => "ok      ",
            Status::Degraded => "degraded",
            Status::Missing => "MISSING ",
        };
        lines.push(format!("{mark}  {:<18} {}", check.name, check.found));
        if check.status != Status::Ok {
            lines.push(format!("          needs {}. {}", check.need, check.advice));
        }
    }
    // The last line ends like the others.
    lines.push(String::new());
    lines.join("\n")
}

fn check(
    name: &'static str,
    is_there: bool,
    found: String,
    need: &'static str,
    advice: &'static str,
) -> Check {
    let status = if is_there {
        Status::Ok
    } else {
        Status::Missing
    };
    Check {
        name,
        status,
        found,
        need,
        advice,
        required: true,
    }
}

fn wish(check: Check) -> Check {
    let status = if check.status == Status::Missing {
        Status::Degraded
    } else {
        check.status
    };
    Check {
        status,
        required: false,
        ..check
    }
}

fn root() -> Check {
    let uid = rustix::process::geteuid();
    let found = format!("user {}", uid.as_raw());
    check(
        "root",
        uid.is_root(),
        found,
        "user 0",
        "Run the server as root.",
    )
}

fn kernel() -> Check {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let is_new = version_of(&release).is_some_and(|version| version >= KERNEL_MIN);
    check(
        "kernel",
        is_new,
        release,
        "Linux 5.19 or newer",
        "Update the kernel.",
    )
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn control_groups() -> Check {
    let (is_there, found) = match crate::limits::describe_layout() {
        Ok(layout) => (true, layout),
        Err(error) => (false, error.to_string()),
    };
    check(
        "control groups",
        is_there,
        found,
        "the controllers memory, cpu and pids",
        "Mount them; on a virtual machine, allow them to the guest.",
    )
}

fn program(name: &'static str, advice_package: &'static str) -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    let text = found
        .as_ref()
        .map_or_else(|| "not found".to_owned(), |p| p.display().to_string());
    check(
        name,
        found.is_some(),
        text,
        advice_package,
        "Install it, or run `make setup`.",
    )
}

fn device(path: &'static str, need: &'static str) -> Check {
    let is_there = Path::new(path).exists();
    let found = if is_there {
        path.to_owned()
    } else {
        format!("no {path}")
    };
    check(
        "loop devices",
        is_there,
        found,
        need,
        "Load the kernel module loop.",
    )
}

fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let is_enough = limit.is_none_or(|limit| limit >= DESCRIPTORS_MIN);
    let found = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {limit}"));
    wish(check(
        "descriptors",
        is_enough,
        found,
        "4096 or more",
        "Raise the hard limit for open files (LimitNOFILE= in a systemd unit).",
    ))
}

fn swap() -> Check {
    let text = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let is_off = text.lines().count() <= 1;
    let counts = Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
        || Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let found = if is_off { "off" } else { "on" }.to_owned();
    wish(check(
        "swap",
        is_off || counts,
        found,
        "swap that is off or counted",
        "Turn swap off, or boot with swapaccount=1: sandboxes could use it beyond their memory.",
    ))
}

fn kvm() -> Check {
    let is_there = Path::new("/dev/kvm").exists();
    let found = if is_there {
        "/dev/kvm is there; not used yet"
    } else {
        "none; not used yet"
    };
    wish(check("KVM", true, found.to_owned(), "nothing", ""))
}

fn space(data_dir: &Path) -> Check {
    let folder = data_dir
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    let left = rustix::fs::statvfs(folder).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
    let found = format!("{} GiB left for {}", left >> 30, data_dir.display());
    wish(check(
        "space",
        left >> 30 >= 5,
        found,
        "5 GiB or more",
        "Choose another data folder.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(version_of("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version_of("5.19.17"), Some((5, 19)));
        assert!(version_of("5.4.0") < Some(KERNEL_MIN));
        assert_eq!(version_of("unknown"), None);
    }

    #[test]
    fn a_missing_wish_degrades_and_a_missing_need_fails() {
        let missing = || check("x", false, String::new(), "y", "z");
        assert_eq!(required_failures(&[missing()]).len(), 1);
        assert!(required_failures(&[wish(missing())]).is_empty());
        assert!(render_table(&[missing()]).contains("MISSING"));
    }
}
