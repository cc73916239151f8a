//! Ways for processes to talk that have no place in the file system.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use alcove_e2e::runner::TestRunner;

use crate::support::{HostProcess, Inside, on_host};

#[tokio::test]
async fn abstract_sockets_of_the_host_are_not_there() {
    let host = TestRunner::start().await;
    let name = format!("alcove-isolation-{}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let attempt = format!("abstract {name}");
    assert_eq!(on_host(&attempt), "ok", "the control");
    for inside in Inside::both(&host).await {
        assert_eq!(inside.probe(&attempt).await, "ECONNREFUSED");
        assert_eq!(
            inside.expect("grep -c alcove- /proc/net/unix; true").await,
            "0"
        );
    }
    let listed = std::fs::read_to_string("/proc/net/unix").unwrap();
    assert!(listed.contains(&name), "the control");
}

#[tokio::test]
async fn shared_memory_and_queues_of_the_host_and_of_neighbours_are_not_there() {
    let host = TestRunner::start().await;
    let [user, root] = Inside::both(&host).await;
    let key = std::process::id() + 0x0a1c_0000;
    let (memory, queue) = (
        format!("shared-memory {key}"),
        format!("queue /alcove-{key}"),
    );
    let _memory = HostProcess::hold(&format!("{memory} make"));
    let _queue = HostProcess::hold(&format!("{queue} make"));
    for attempt in [&memory, &queue] {
        assert_eq!(on_host(attempt), "ok", "the control");
        for inside in [&user, &root] {
            assert_eq!(inside.probe(attempt).await, "ENOENT", "{attempt}");
        }
        // The same names again, each in a world of its own.
        assert_eq!(user.hold(&format!("{attempt} make")).await, "ready");
        assert_eq!(user.probe(attempt).await, "ok", "the control");
        assert_eq!(root.probe(attempt).await, "ENOENT", "{attempt}");
    }
}

#[tokio::test]
async fn the_host_name_is_the_sandboxs_own() {
    let host = TestRunner::start().await;
    let of_host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for inside in Inside::both(&host).await {
        assert_eq!(inside.expect("hostname").await, inside.id.as_str());
        assert_ne!(inside.expect("hostname").await, of_host.trim());
        let attempt = format!("syscall {} 0 0", libc::SYS_sethostname);
        assert_eq!(inside.probe(&attempt).await, "EPERM");
    }
}
