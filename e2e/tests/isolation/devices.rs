//! Device nodes.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use alcove_e2e::runner::TestRunner;

use crate::support::{HostProcess, Inside, PROBE, on_host};

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
    for node in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/tty"] {
        let attempt = format!("lock {node}");
        user.sh(&format!("flock {node} sleep 1000 >/dev/null 2>&1 &"))
            .await;
        alcove_e2e::wait::until("a lock that is held", async || {
            match user.probe(&attempt).await.as_str() {
                // The terminal of a program that has none cannot be opened.
                "EAGAIN" | "ENXIO" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        assert_ne!(
            root.probe(&attempt).await,
            "EAGAIN",
            "{node} is shared with the neighbour"
        );
        assert_ne!(
            on_host(&attempt),
            "EAGAIN",
            "{node} is shared with the host"
        );
    }
    root.expect(&format!(
        "{PROBE} watch-opens /dev/zero 800 >/tmp/watch 2>&1 &"
    ))
    .await;
    let mut watch_on_host = HostProcess::start(Command::new(crate::support::program()).args([
        "watch-opens",
        "/dev/zero",
        "800",
    ]));
    alcove_e2e::wait::until("a watch", async || {
        let text = root.expect("cat /tmp/watch").await;
        if text.is_empty() { Err(text) } else { Ok(()) }
    })
    .await;
    user.expect("for i in 1 2 3; do : </dev/zero; done").await;
    alcove_e2e::wait::until("the end of a watch", async || {
        let text = root.expect("cat /tmp/watch").await;
        if text.contains("ok") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    assert_eq!(root.expect("tail -n 1 /tmp/watch").await, "ok 0");
    assert!(
        !watch_on_host.output().ends_with("ok 3\n"),
        "the host sees what is opened inside"
    );

    user.expect(&format!(
        "{PROBE} watch-opens /dev/zero 800 >/tmp/watch 2>&1 &"
    ))
    .await;
    alcove_e2e::wait::until("a watch", async || {
        let text = user.expect("cat /tmp/watch").await;
        if text.is_empty() { Err(text) } else { Ok(()) }
    })
    .await;
    user.expect("for i in 1 2 3; do : </dev/zero; done").await;
    alcove_e2e::wait::until("the end of a watch", async || {
        let text = user.expect("cat /tmp/watch").await;
        if text.contains("ok 3") {
            Ok(())
        } else {
            Err(format!("the control: {text}"))
        }
    })
    .await;
}
