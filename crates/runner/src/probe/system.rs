//! The kernel, and what this process may do.

use std::fs;

use super::{Check, Subject};

/// Oldest kernel whose overlayfs takes idmapped lower layers.
const KERNEL_MIN: (u32, u32) = (5, 19);

const ROOT: Subject = Subject::required("root", "user 0");
const KERNEL: Subject = Subject::required("kernel", "Linux 5.19 or newer");
const CAPABILITIES: Subject = Subject::required(
    "capabilities",
    "the capabilities CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN, SYS_ADMIN and MKNOD",
);
const RESOURCE: Subject = Subject::wished("cap-sys-resource", "the capability CAP_SYS_RESOURCE");
const MODULES: Subject = Subject::wished(
    "security-modules",
    "no security module that confines this process",
);
const CLOCK: Subject = Subject::wished("clock", "a clock that is right");
const KVM: Subject = Subject::wished("kvm", "nothing: micro virtual machines do not exist yet");

/// Those without which some step of a sandbox fails, by their bits.
const NEEDED: [(u32, &str); 10] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (10, "CAP_NET_BIND_SERVICE"),
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (27, "CAP_MKNOD"),
];

const CAP_SYS_RESOURCE: u32 = 24;

/// 1 January 2025: before it, this program had not been written.
const EARLIEST_SECONDS: i64 = 1_735_689_600;

pub(super) fn checks() -> Vec<Check> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let capabilities = effective_capabilities(&status);
    vec![
        judge_root(rustix::process::geteuid().as_raw()),
        judge_kernel(&release),
        judge_capabilities(capabilities),
        judge_resource(capabilities),
        judge_modules(
            &read("/sys/kernel/security/lsm"),
            // Of AppArmor or SELinux, whichever is there.
            &read("/proc/self/attr/current"),
            &read("/sys/fs/selinux/enforce"),
        ),
        judge_clock(
            rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec,
            is_synchronised(),
        ),
        KVM.ok(if fs::exists("/dev/kvm").unwrap_or(false) {
            "/dev/kvm is there; not used yet"
        } else {
            "none; not used yet"
        }),
    ]
}

fn judge_root(uid: u32) -> Check {
    let found = format!("user {uid}");
    if uid == 0 {
        ROOT.ok(found)
    } else {
        ROOT.lacking(found, "Run the server as root.")
    }
}

fn judge_kernel(release: &str) -> Check {
    if version_of(release).is_some_and(|version| version >= KERNEL_MIN) {
        KERNEL.ok(release)
    } else {
        KERNEL.lacking(release, "Update the kernel.")
    }
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn judge_capabilities(effective: Option<u64>) -> Check {
    let Some(effective) = effective else {
        return CAPABILITIES.not_tried();
    };
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(bit, _)| effective >> bit & 1 == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return CAPABILITIES.ok("all that are needed");
    }
    CAPABILITIES.lacking(
        format!("without {}", missing.join(", ")),
        "Run the server as root with them (CapabilityBoundingSet= in a systemd unit).",
    )
}

fn judge_resource(effective: Option<u64>) -> Check {
    match effective {
        None => RESOURCE.not_tried(),
        Some(set) if set >> CAP_SYS_RESOURCE & 1 == 1 => RESOURCE.ok("there"),
        Some(_) => RESOURCE.lacking(
            "none",
            "Sandboxes work. The server cannot raise its own limits, and cannot keep itself from being the first to \
             go when the host's memory runs out.",
        ),
    }
}

/// `profile` is what a security module says of this process.
fn judge_modules(active: &str, profile: &str, selinux_enforces: &str) -> Check {
    let active = active.trim();
    let profile = profile.trim_end_matches(['\n', '\0']);
    let found = if active.is_empty() {
        "none that tells of itself".to_owned()
    } else {
        active.to_owned()
    };
    if selinux_enforces.trim() == "1" {
        return MODULES.lacking(
            format!("{found}; SELinux enforces, context {profile}"),
            "Alcove brings no policy for it and has not been tried with one: if a check above fails, try permissive mode.",
        );
    }
    let is_confined = active.contains("apparmor") && !profile.is_empty() && profile != "unconfined";
    if is_confined {
        return MODULES.lacking(
            format!("{found}; this process is under the profile {profile}"),
            "Run the server unconfined: profiles of container engines forbid mounts.",
        );
    }
    // Ubuntu's restriction of user namespaces (kernel.apparmor_restrict_unprivileged_userns) is for processes
    // without CAP_SYS_ADMIN, and the server has it.
    MODULES.ok(found)
}

fn judge_clock(seconds: i64, is_synchronised: Option<bool>) -> Check {
    if seconds < EARLIEST_SECONDS {
        return CLOCK.lacking(
            "far in the past",
            "Set it: certificates fail to verify, and timers fire late.",
        );
    }
    match is_synchronised {
        Some(true) => CLOCK.ok("synchronised"),
        Some(false) => CLOCK.lacking(
            "not synchronised",
            "Run a time service, such as chrony or systemd-timesyncd.",
        ),
        None => CLOCK.ok("cannot tell whether it is synchronised"),
    }
}

/// As the kernel sees it: a time service tells it so.
#[expect(unsafe_code, reason = "the state of the clock has no safe form")]
fn is_synchronised() -> Option<bool> {
    // SAFETY: all zero asks for nothing to be changed; the kernel fills the structure in.
    let state = unsafe {
        let mut request: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut request)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}

#[cfg(test)]
mod tests {
    use super::super::Status::{Degraded, Missing, Ok as Fine};
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Fine),
            ("5.19.17", Fine),
            ("10.0.0", Fine),
            ("5.4.0", Missing),
            ("unknown", Missing),
        ] {
            assert_eq!(judge_kernel(release).status, expected, "{release}");
        }
    }

    #[test]
    fn a_missing_capability_is_named() {
        let all = u64::MAX;
        assert_eq!(judge_capabilities(Some(all)).status, Fine);
        let check = judge_capabilities(Some(all & !(1 << 21)));
        assert_eq!(
            (check.status, check.found.as_str()),
            (Missing, "without CAP_SYS_ADMIN")
        );
        assert_eq!(judge_resource(Some(all)).status, Fine);
        assert_eq!(judge_resource(Some(all & !(1 << 24))).status, Degraded);
        assert_eq!(judge_root(1000).status, Missing);
    }

    #[test]
    fn capabilities_are_read_from_the_kernels_list() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001fffeffffff\n";
        assert_eq!(effective_capabilities(status), Some(0x01ff_feff_ffff));
        assert_eq!(effective_capabilities(""), None);
    }

    #[test]
    fn security_modules_count_when_they_confine_this_process() {
        for (active, profile, selinux, expected) in [
            ("lockdown,capability,landlock,bpf", "", "", Fine),
            ("lockdown,capability,apparmor", "unconfined\n", "", Fine),
            (
                "lockdown,capability,apparmor",
                "docker-default (enforce)\n",
                "",
                Degraded,
            ),
            (
                "capability,selinux",
                "system_u:system_r:init_t:s0\0",
                "1",
                Degraded,
            ),
            (
                "capability,selinux",
                "system_u:system_r:init_t:s0\0",
                "0",
                Fine,
            ),
            ("", "", "", Fine),
        ] {
            let check = judge_modules(active, profile, selinux);
            assert_eq!(check.status, expected, "{active} {profile}");
        }
    }

    #[test]
    fn a_clock_that_is_years_behind_is_told() {
        assert_eq!(judge_clock(0, Some(true)).status, Degraded);
        assert_eq!(judge_clock(EARLIEST_SECONDS, Some(true)).status, Fine);
        assert_eq!(judge_clock(EARLIEST_SECONDS, Some(false)).status, Degraded);
        assert_eq!(judge_clock(EARLIEST_SECONDS, None).status, Fine);
    }
}
