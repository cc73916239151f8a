//! Who a sandbox's root is outside.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use alcove_e2e::runner::TestRunner;

use crate::support::{Inside, PROBE, on_host};

/// First id of the sandbox's range, from the host's view of process 1.
fn range_base(inside: &Inside<'_>) -> u32 {
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", inside.agent_pid())).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/gid_map", inside.agent_pid())).unwrap();
    assert_eq!(map, groups);
    let fields: Vec<u32> = map
        .split_whitespace()
        .map(|field| field.parse().unwrap())
        .collect();
    let [0, base, 65_536] = fields[..] else {
        panic!("{map}")
    };
    base
}

#[tokio::test]
async fn each_sandbox_has_ids_that_nobody_else_has() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let (first, second) = (range_base(&user), range_base(&root));
    assert!(first >= 65_536 && second >= 65_536);
    assert!(
        first.abs_diff(second) >= 65_536,
        "{first} and {second} overlap"
    );
    let uids = |inside: &Inside<'_>| {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", inside.agent_pid())).unwrap();
        status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap()
            .to_owned()
    };
    let all_four = |uid: u32| format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}");
    assert_eq!(uids(&user), all_four(first + 1000));
    assert_eq!(uids(&root), all_four(second));
    assert_eq!(
        root.expect("id -u").await,
        "0",
        "the control: inside it is root"
    );
}

#[tokio::test]
async fn what_root_writes_belongs_to_nobody_on_the_host() {
    let host = TestRunner::start().await;
    let inside = Inside::as_root(&host).await;
    let base = range_base(&inside);
    inside
        .expect("echo x >/root/file && cp /bin/busybox /root/suid && chmod 6755 /root/suid")
        .await;
    inside
        .expect("echo x >/root/given && chown 1000:1000 /root/given && chown 65535 /root/given")
        .await;
    let owner = |name: &str| {
        let metadata =
            std::fs::symlink_metadata(inside.root_on_host().join("root").join(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    };
    assert_eq!(owner("file"), (base, base, 0o644));
    assert_eq!(
        owner("suid"),
        (base, base, 0o6755),
        "set-user-id, but to nobody of the host"
    );
    assert_eq!(owner("given"), (base + 65_535, base + 1000, 0o644));
    for id in ["65536", "100000", "1879048192", "4294967294"] {
        let (code, output) = inside.sh(&format!("chown {id} /root/file 2>&1")).await;
        assert!(
            code != 0 && output.contains("Invalid argument"),
            "{id}: {output}"
        );
    }
    // Files of the image are shifted, those of the host's layer too.
    for path in ["/etc/passwd", "/bin/busybox", "/etc/resolv.conf"] {
        assert_eq!(
            inside.expect(&format!("stat -c %u {path}")).await,
            "0",
            "{path}"
        );
    }
}

#[tokio::test]
async fn users_of_the_host_do_not_reach_files_of_sandboxes() {
    let host = TestRunner::start().await;
    let inside = Inside::as_root(&host).await;
    inside
        .expect("cp /bin/busybox /suid && chmod 6755 /suid && chmod 777 /")
        .await;
    let disks = host.data_dir().join("runner/disks");
    let paths = [
        disks.join(format!("{}.ext4", inside.id)),
        host.data_dir().join("runner/journal"),
        host.data_dir().join("images"),
        host.data_dir().join("run").join(inside.id.as_str()),
        inside.root_on_host().join("suid"),
    ];
    // The folder of a test lets nobody in by itself; open it, so that the runner's own folders have to hold.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.data_dir(), open).unwrap();
    for path in paths {
        let attempt = format!("open {} read", path.display());
        let outcome = on_host(&format!(
            "as 65534 {} {attempt}",
            crate::support::program().display()
        ));
        assert_eq!(outcome, "EACCES", "{}", path.display());
        let control = on_host(&attempt);
        assert_ne!(control, "EACCES", "the control: {}", path.display());
        assert_ne!(control, "ENOENT", "the control: {}", path.display());
    }
    let mode = std::fs::metadata(&disks).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[tokio::test]
async fn set_user_id_programs_work_inside() {
    let host = TestRunner::start().await;
    let inside = Inside::as_root(&host).await;
    inside
        .expect(&format!(
            "cp {PROBE} /plain && cp {PROBE} /suid && chmod 755 /plain && chmod 4755 /suid"
        ))
        .await;
    let geteuid = libc::SYS_geteuid;
    assert_eq!(
        inside
            .probe(&format!("as 1000 /plain syscall {geteuid}"))
            .await,
        "ok 1000",
        "the control"
    );
    assert_eq!(
        inside
            .probe(&format!("as 1000 /suid syscall {geteuid}"))
            .await,
        "ok 0"
    );
}

fn capabilities(status: &str) -> BTreeMap<String, u64> {
    let lines = status.lines().filter_map(|line| line.strip_prefix("Cap"));
    lines
        .map(|line| {
            let (name, value) = line.split_once(":\t").unwrap();
            (
                name.to_owned(),
                u64::from_str_radix(value.trim(), 16).unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn capabilities_are_the_documented_ones() {
    let host = TestRunner::start().await;
    let kept: u64 = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]
        .iter()
        .map(|bit| 1 << bit)
        .sum();
    let [user, root] = Inside::both(&host).await;
    let of_user = capabilities(&user.expect("cat /proc/self/status").await);
    assert_eq!(of_user["Bnd"], kept);
    for set in ["Inh", "Prm", "Eff", "Amb"] {
        assert_eq!(of_user[set], 0, "{set}");
    }
    let of_root = capabilities(&root.expect("cat /proc/self/status").await);
    assert_eq!(
        (of_root["Bnd"], of_root["Prm"], of_root["Eff"]),
        (kept, kept, kept)
    );
    assert_eq!((of_root["Inh"], of_root["Amb"]), (0, 0));
    // The agent of an ordinary user may signal what the user started by a set-user-id program, and nothing else.
    let agent = capabilities(&user.expect("cat /proc/1/status").await);
    assert_eq!(
        (agent["Prm"], agent["Eff"], agent["Inh"]),
        (1 << 5, 1 << 5, 0)
    );
}

#[tokio::test]
async fn capabilities_of_root_do_not_reach_beyond_the_sandbox() {
    let host = TestRunner::start().await;
    let inside = Inside::as_root(&host).await;
    for command in [
        "ip link set lo down",
        "ip link set eth0 down",
        "ip addr add 10.1.2.3/32 dev lo",
        "ip route del default",
        "ip link add type veth",
        "hostname other",
        "date -s 2020-01-01",
        "nice -n -5 true",
        "chrt -r 1 true",
        "ionice -c 1 true",
        "chroot /proc/1/root true",
        "swapoff -a",
        "dmesg",
        "reboot -f",
        "echo 1 >/proc/sys/net/ipv4/conf/all/forwarding",
        "echo -900 >/proc/self/oom_score_adj",
        "ulimit -Hn 1000000",
    ] {
        // Without a network of its own to break, the host's is looked at below.
        let (code, output) = inside.sh(&format!("{command} 2>&1 </dev/null")).await;
        let is_refused = code != 0 || output.contains("not permitted") || output.contains("denied");
        assert!(is_refused, "{command}: {code} {output}");
    }
    for (family, kind, protocol) in [(2, 3, 1), (2, 3, 255), (17, 3, 0x300), (10, 3, 58)] {
        let attempt = format!("syscall {} {family} {kind} {protocol}", libc::SYS_socket);
        assert_eq!(inside.probe(&attempt).await, "EPERM", "{attempt}");
        assert!(
            on_host(&attempt).starts_with("ok"),
            "the control: {attempt}"
        );
    }
    inside.expect("chroot / true").await;
    inside.expect("ip link show lo | grep -q UP").await;
}
