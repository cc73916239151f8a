//! The network, from inside of sandboxes. What each rule does is tested packet by packet with the runner's network;
//! here a whole runner stands between real sandboxes and a host, a neighbour and an internet of its own.

use alcove_e2e::runner::TestRunner;

use crate::support::{HostProcess, Inside, on_host};
use crate::world::{CLOSED, HOST, INTERNET, expect_closed, in_world, is_closed};

#[test]
fn the_internet_is_open_and_closed_networks_are_not() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let user = Inside::as_user(&host).await;
        assert_eq!(
            user.probe(&format!("tcp {INTERNET}:8080")).await,
            "ok hello"
        );
        assert_eq!(user.probe(&format!("udp {INTERNET}:8080")).await, "ok echo");
        let attempts: Vec<String> = CLOSED
            .iter()
            .flat_map(|address| ["tcp", "udp"].map(|kind| format!("{kind} {address}:8080")))
            .collect();
        for attempt in &attempts {
            assert!(on_host(attempt).starts_with("ok"), "the control: {attempt}");
        }
        expect_closed(&user, &attempts).await;
    });
}

#[test]
fn the_host_is_not_reached_at_any_of_its_addresses() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let [user, root] = Inside::both(&host).await;
        let gateway = host.config.network.pool.gateway().to_string();
        let _everywhere = HostProcess::hold("serve 0.0.0.0:9001");
        let _loopback = HostProcess::hold("serve 127.0.0.1:9002");
        let _gateway = HostProcess::hold(&format!("serve {gateway}:9003"));
        let mut targets = vec!["127.0.0.1:9002".to_owned(), format!("{gateway}:9003")];
        targets.extend(["127.0.0.1", HOST, &gateway].map(|address| format!("{address}:9001")));
        let attempts: Vec<String> = targets
            .iter()
            .flat_map(|target| ["tcp", "udp"].map(|kind| format!("{kind} {target}")))
            .collect();
        for attempt in &attempts {
            assert!(on_host(attempt).starts_with("ok"), "the control: {attempt}");
        }
        for inside in [&user, &root] {
            expect_closed(inside, &attempts).await;
        }
        // The same numbers inside lead to the sandbox's own servers.
        assert_eq!(user.hold("serve 127.0.0.1:9002").await, "ready");
        assert_eq!(
            user.probe("tcp 127.0.0.1:9002").await,
            "ok hello",
            "the control"
        );
        // The gateway answers what a network needs.
        assert_eq!(user.probe(&format!("ping {gateway}")).await, "ok");
        let (_, dns) = user
            .sh(&format!("nslookup -type=a localhost {gateway} 2>&1"))
            .await;
        assert!(
            dns.contains(&gateway) && !dns.contains("timed out"),
            "{dns}"
        );
        assert!(is_closed(&user.probe(&format!("ping {HOST}")).await));
    });
}

#[test]
fn neighbours_do_not_reach_each_other() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let [user, root] = Inside::both(&host).await;
        let address = async |inside: &Inside<'_>| {
            inside
                .expect("ip -4 -o address show dev eth0 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1")
                .await
        };
        let (of_user, of_root) = (address(&user).await, address(&root).await);
        assert_ne!(of_user, of_root);
        for inside in [&user, &root] {
            assert_eq!(inside.hold("serve 0.0.0.0:9000").await, "ready");
        }
        for (inside, own, other) in [(&user, &of_user, &of_root), (&root, &of_root, &of_user)] {
            let attempts = |address: &str| {
                [("tcp", ":9000"), ("udp", ":9000"), ("ping", "")]
                    .map(|(kind, port)| format!("{kind} {address}{port}"))
            };
            for outcome in inside.probes(&attempts(own)).await {
                assert!(outcome.starts_with("ok"), "the control: {outcome}");
            }
            expect_closed(inside, &attempts(other)).await;
        }
        let attempt = format!("tcp {of_user}:9000");
        assert!(
            on_host(&attempt).starts_with("ok"),
            "the control: the server can be reached"
        );
    });
}

#[test]
fn no_packet_leaves_under_another_address() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let root = Inside::as_root(&host).await;
        let target = format!("{INTERNET}:8080");
        // Without a right over its network, not even root can make up packets or addresses.
        let outcome = root
            .probe(&format!("send-from 10.9.9.9:7777 {target}"))
            .await;
        assert!(is_closed(&outcome), "{outcome}");
        assert_eq!(
            root.probe(&format!("send-from 0.0.0.0:7777 {target}"))
                .await,
            "ok",
            "the control"
        );
        let outcome = root
            .probe(&format!("send-from 127.0.0.1:7777 {target}"))
            .await;
        assert!(is_closed(&outcome), "{outcome}");
        for (kind, protocol) in [(3, 255), (3, 1), (3, 17)] {
            let attempt = format!("syscall {} 2 {kind} {protocol}", libc::SYS_socket);
            assert_eq!(root.probe(&attempt).await, "EPERM");
        }
        let (code, _) = root.sh("ip address add 10.9.9.9/32 dev eth0").await;
        assert_ne!(code, 0);
        let (code, _) = root.sh("ip link set eth0 address 02:00:00:00:00:01").await;
        assert_ne!(code, 0);
    });
}

#[test]
fn no_sandbox_has_a_way_by_the_sixth_version() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let root = Inside::as_root(&host).await;
        let addresses = root
            .expect("cat /proc/net/if_inet6 2>/dev/null; true")
            .await;
        assert!(!addresses.contains("eth0"), "{addresses}");
        let outcome = root.probe("tcp [fe80::1]:9001").await;
        assert!(
            outcome == "EINVAL" || is_closed(&outcome) || outcome == "EADDRNOTAVAIL",
            "{outcome}"
        );
        let outcome = root.probe("tcp [ff02::1]:9001").await;
        assert!(
            is_closed(&outcome) || outcome == "EADDRNOTAVAIL",
            "{outcome}"
        );
    });
}

/// The table of connections is one for the whole host; a full one lets nobody through.
#[test]
fn a_sandbox_that_opens_connections_without_end_does_not_fill_the_hosts_table() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let [user, root] = Inside::both(&host).await;
        let count = || -> u32 {
            let text =
                std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
            text.trim().parse().unwrap()
        };
        // Nobody listens there, so none of these connections ends before its time.
        user.probe("flows 198.51.100.9 4000").await;
        let some = count();
        assert!(some >= 3500, "the control: connections are counted: {some}");
        user.probe("flows 198.51.100.9 30000").await;
        let all = count();
        assert!(all > some && all <= 8192 + 200, "{all}");
        assert_eq!(
            root.probe(&format!("tcp {INTERNET}:8080")).await,
            "ok hello"
        );
        assert_eq!(user.expect("echo alive").await, "alive");
    });
}
