//! Device nodes.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use alcove_e2e::runner::TestRunner;

use crate::support::{HostProcess, Inside, on_host};

#[tokio::test]
async fn only_the_known_nodes_are_there() {
    let host = TestRunner::start().await;
    for inside in Inside::both(&host).await {
        let names = "ls -A /dev | tr '\\n' ' '";
        assert_eq!(
            inside.expect(names).await,
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
        );
        assert_eq!(
            inside
                .expect("find / -xdev -type b 2>/dev/null; find /dev -type b; true")
                .await,
            ""
        );
        let nodes = inside.expect("find / -type c ! -path '/proc/*' 2>/dev/null -exec stat -c '%n %t:%T' {} \\; | sort; true").await;
        let expected = "/dev/full 1:7\n/dev/null 1:3\n/dev/pts/ptmx 5:2\n/dev/random 1:8\n/dev/tty 5:0\n/dev/urandom 1:9\n/dev/zero 1:5";
        assert_eq!(nodes, expected);
        for path in [
            "mem",
            "kmsg",
            "kvm",
            "fuse",
            "net/tun",
            "loop-control",
            "loop0",
            "vda",
            "sda",
            "console",
            "port",
        ] {
            assert_eq!(
                inside.probe(&format!("open /dev/{path} read")).await,
                "ENOENT",
                "{path}"
            );
        }
        assert_eq!(
            inside.probe("open /dev/zero read").await,
            "ok 256 bytes",
            "the control"
        );
    }
    assert_eq!(
        on_host("open /dev/loop-control read"),
        "EINVAL",
        "the control: it opens, and has nothing to read"
    );
}

#[tokio::test]
async fn no_node_can_be_made() {
    let host = TestRunner::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (kind, major, minor) in [
        ("b", 7, 0),
        ("b", 254, 0),
        ("c", 1, 1),
        ("c", 1, 3),
        ("c", 10, 232),
        ("c", 10, 229),
        ("c", 10, 200),
    ] {
        let control = Command::new("mknod")
            .arg(folder.path().join(format!("{kind}-{major}-{minor}")))
            .args([kind, &major.to_string(), &minor.to_string()])
            .status();
        assert!(control.unwrap().success(), "the control");
    }
    for inside in Inside::both(&host).await {
        for place in ["/tmp", "/dev/shm", "/dev"] {
            for node in [
                "b 7 0", "b 254 0", "c 1 1", "c 1 3", "c 10 232", "c 10 229", "c 10 200",
            ] {
                let (code, output) = inside.sh(&format!("mknod {place}/node {node} 2>&1")).await;
                assert_ne!(code, 0, "{place} {node}");
                assert!(
                    output.contains("not permitted") || output.contains("denied"),
                    "{output}"
                );
            }
        }
        inside.expect("mknod /tmp/pipe p").await;
    }
}

#[tokio::test]
async fn the_hosts_nodes_cannot_be_changed() {
    let host = TestRunner::start().await;
    let before = std::fs::metadata("/dev/null").unwrap();
    let inside = Inside::as_root(&host).await;
    for command in [
        "chmod 600 /dev/null",
        "chown 1000 /dev/null",
        "rm /dev/null",
        "touch /dev/null",
        "mv /dev/null /dev/x",
    ] {
        inside.sh(command).await;
    }
    let after = std::fs::metadata("/dev/null").unwrap();
    assert_eq!(
        (before.mode(), before.uid(), before.mtime()),
        (after.mode(), after.uid(), after.mtime())
    );
    assert_eq!(on_host("open /dev/null write"), "ok");
}

/// A node that is shared is a way to talk, and to see when others open it.
#[tokio::test]
async fn locks_and_watches_of_a_node_end_at_the_sandbox() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    for node in ["null", "zero", "full", "random", "urandom"] {
        let attempt = format!("lock /dev/{node}");
        assert_eq!(user.hold(&format!("{attempt} hold")).await, "ready");
        assert_eq!(user.probe(&attempt).await, "EAGAIN", "the control");
        assert_eq!(root.probe(&attempt).await, "ok", "{node} of the neighbour");
        assert_eq!(on_host(&attempt), "ok", "{node} of the host");
    }
    // A mask is the null device once more.
    assert_eq!(
        user.probe("lock /proc/kallsyms").await,
        "EAGAIN",
        "the control"
    );
    assert_eq!(root.probe("lock /proc/kallsyms").await, "ok");

    let watch = "watch-opens /dev/full 800";
    let mut watch_on_host = HostProcess::hold(watch);
    let watch_of_neighbour = root.hold_in(watch).await;
    let own_watch = user.hold_in(watch).await;
    user.expect("for i in 1 2 3; do : </dev/full; done").await;
    // The kernel counts what happens several times in a row once.
    assert_ne!(user.second_line(&own_watch).await, "ok 0", "the control");
    assert_eq!(root.second_line(&watch_of_neighbour).await, "ok 0");
    assert_eq!(watch_on_host.output(), "ok 0\n");
}
