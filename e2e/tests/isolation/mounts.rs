//! Mounts, and the kernel's own file systems.

use std::collections::BTreeSet;
use std::process::Command;

use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, PROBE};

/// Mount points, and the sources that are devices.
fn points_and_devices(mountinfo: &str) -> (BTreeSet<String>, Vec<String>) {
    let mut points = BTreeSet::new();
    let mut devices = Vec::new();
    for line in mountinfo.lines() {
        let (mount, system) = line.split_once(" - ").unwrap();
        points.insert(mount.split(' ').nth(4).unwrap().to_owned());
        let source = system.split(' ').nth(1).unwrap();
        if source.starts_with("/dev/") {
            devices.push(source.to_owned());
        }
    }
    (points, devices)
}

#[tokio::test]
async fn the_list_of_mounts_names_nothing_of_the_host() {
    let host = TestRunner::start().await;
    let of_host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let data_dir = host.data_dir().to_str().unwrap();
    for inside in Inside::both(&host).await {
        let text = inside.expect("cat /proc/self/mountinfo").await;
        let (points, devices) = points_and_devices(&text);
        for point in &points {
            let known = ["/proc", "/dev", "/sys"]
                .iter()
                .any(|top| point == top || point.starts_with(&format!("{top}/")));
            assert!(known || point == "/", "{point}");
        }
        assert_eq!(devices, Vec::<String>::new());
        assert!(!text.contains(data_dir) && !text.contains("loop"), "{text}");
        assert!(points.contains("/dev/shm"), "the control: {points:?}");
    }
    let (points, _) = points_and_devices(&of_host);
    assert!(
        points.contains("/sys/fs/cgroup") || points.len() > 5,
        "the control: {points:?}"
    );
}

/// Every attempt that the host's root may make and no one inside.
const MOUNTS: [&str; 12] = [
    "mount -t tmpfs none $D/a",
    "mount -t proc none $D/a",
    "mount -t sysfs none $D/a",
    "mount -t overlay -o lowerdir=$D/b,upperdir=$D/c,workdir=$D/d none $D/a",
    "mount -t devpts none $D/a",
    "mount -t cgroup2 none $D/a",
    "mount -o bind $D/b $D/a",
    "mount -o bind /proc $D/a",
    "mount -o remount,ro,bind /proc",
    "mount --make-private /",
    "mount -o move /dev/shm $D/a",
    "umount /dev/shm",
];

#[tokio::test]
async fn nothing_can_be_mounted_moved_or_taken_off() {
    let host = TestRunner::start().await;
    let script = |command: &str| {
        format!(
            "D=$(mktemp -d) && mkdir $D/a $D/b $D/c $D/d && {{ {command}; }} >/dev/null 2>&1 && echo done || echo refused"
        )
    };
    for command in MOUNTS {
        // In mounts of its own, private, with something at each place that is used.
        let script = format!(
            "mount --make-rprivate / && mount -t tmpfs none /tmp && mkdir -p /dev/shm && \
            mount -t tmpfs none /dev/shm && {}",
            script(command).replace("mount -o move", "mount -t none -o move")
        );
        let control = Command::new("unshare")
            .args(["-m", "busybox", "sh", "-c", &script])
            .output()
            .unwrap();
        let control = String::from_utf8(control.stdout).unwrap();
        assert!(
            control.ends_with("done\n"),
            "the control: {command}: {control}"
        );
    }
    for inside in Inside::both(&host).await {
        for command in MOUNTS {
            assert_eq!(
                inside.expect(&script(command)).await,
                "refused",
                "{command}"
            );
        }
        for mask in [
            "/proc/kcore",
            "/proc/kallsyms",
            "/proc/sys",
            "/dev/null",
            "/",
        ] {
            let (code, output) = inside.sh(&format!("umount -l {mask} 2>&1")).await;
            assert_ne!(code, 0, "{mask}: {output}");
        }
        for path in ["/proc/sys", "/sys", "/sys/devices/system/cpu"] {
            for how in ["remount,rw", "remount,rw,bind"] {
                let (code, output) = inside.sh(&format!("mount -o {how} {path} 2>&1")).await;
                assert_ne!(code, 0, "{path}: {output}");
            }
        }
    }
}

#[tokio::test]
async fn files_of_proc_that_tell_about_the_host_are_empty() {
    let host = TestRunner::start().await;
    let masked = [
        "kcore",
        "keys",
        "key-users",
        "kallsyms",
        "kmsg",
        "timer_list",
        "sched_debug",
        "kpagecount",
        "kpageflags",
        "kpagecgroup",
        "config.gz",
        "vmallocinfo",
        "slabinfo",
        "interrupts",
        "latency_stats",
    ];
    let mut seen_on_host = Vec::new();
    for name in masked {
        let attempt = format!("open /proc/{name} read");
        // Reading the kernel's log would take messages away from whoever waits for them.
        if name != "kmsg"
            && crate::support::on_host(&attempt) != "ok 0 bytes"
            && crate::support::on_host(&attempt).starts_with("ok")
        {
            seen_on_host.push(name);
        }
    }
    for expected in ["kallsyms", "timer_list", "keys"] {
        assert!(
            seen_on_host.contains(&expected),
            "the control: {seen_on_host:?}"
        );
    }
    for inside in Inside::both(&host).await {
        for name in masked {
            let outcome = inside.probe(&format!("open /proc/{name} read")).await;
            let is_closed =
                ["ok 0 bytes", "EACCES", "EPERM", "ENOENT", "EIO"].contains(&outcome.as_str());
            assert!(is_closed, "{name}: {outcome}");
        }
        for folder in ["acpi", "scsi", "asound", "tty/driver"] {
            assert_eq!(
                inside
                    .expect(&format!("ls -A /proc/{folder} 2>/dev/null; true"))
                    .await,
                "",
                "{folder}"
            );
        }
        let masks = "for f in kallsyms sysrq-trigger; do [ ! -e /proc/$f ] || stat -c %t:%T /proc/$f; done | sort -u";
        assert_eq!(inside.expect(masks).await, "1:3", "each is the null device");
    }
}

#[tokio::test]
async fn settings_of_the_kernel_can_be_read_but_not_written() {
    let host = TestRunner::start().await;
    let settings = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/domainname",
        "/proc/sys/kernel/msgmax",
        "/proc/sys/vm/swappiness",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/ping_group_range",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/fs/mqueue/queues_max",
    ];
    for inside in Inside::both(&host).await {
        for setting in settings {
            inside.expect(&format!("cat {setting}")).await;
            let outcome = inside.probe(&format!("open {setting} write")).await;
            assert!(
                ["EROFS", "EACCES", "EPERM"].contains(&outcome.as_str()),
                "{setting}: {outcome}"
            );
        }
        for path in [
            "/proc/irq/default_smp_affinity",
            "/proc/sys/vm/drop_caches",
            "/proc/bus/x",
            "/proc/fs/x",
        ] {
            let outcome = inside.probe(&format!("open {path} write")).await;
            assert!(
                ["EROFS", "EACCES", "EPERM", "ENOENT"].contains(&outcome.as_str()),
                "{path}: {outcome}"
            );
        }
        assert_eq!(
            inside
                .expect("cat /proc/sys/user/max_user_namespaces")
                .await,
            "0"
        );
        assert_eq!(
            inside.probe("open /proc/self/oom_score_adj write").await,
            "ok",
            "the control"
        );
    }
    assert_eq!(
        crate::support::on_host("open /proc/sys/vm/swappiness write"),
        "ok",
        "the control"
    );
}

#[tokio::test]
async fn sys_holds_the_processors_and_nothing_else() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        assert_eq!(
            inside
                .expect("ls /sys /sys/devices /sys/devices/system | tr '\\n' ' '")
                .await,
            "/sys: devices  /sys/devices: system  /sys/devices/system: cpu"
        );
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
        assert_eq!(
            inside.expect("cat /sys/devices/system/cpu/online").await,
            online.trim(),
            "the control"
        );
        let writable = format!(
            "find /sys -type f | while read f; do {PROBE} open $f write; done | sort -u | grep -v -e EROFS -e EACCES; true"
        );
        assert_eq!(inside.expect(&writable).await, "");
        assert_eq!(inside.sh("mkdir /sys/x 2>/dev/null").await.0, 1);
        assert_eq!(
            inside
                .expect("grep -c -- '- cgroup' /proc/self/mountinfo; true")
                .await,
            "0"
        );
        let groups = inside
            .expect("cut -d: -f3 /proc/self/cgroup | sort -u")
            .await;
        assert_eq!(
            groups, "/",
            "the path of the group on the host does not show"
        );
    }
}
