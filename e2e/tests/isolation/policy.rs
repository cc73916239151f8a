//! Ways round a network policy, from inside of sandboxes. Each attempt fails under the policy and gets through once the
//! same sandbox is open; those that no sandbox may make succeed on the host.

use std::process::Command;

use alcove_domain::{NetworkPolicy, OutboundProxy, SandboxId};
use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait;
use alcove_runner_api::{
    DiskOrigin, Generation, Goal, NetworkSpec, Observed, SandboxSpec, WarmKind, WarmWish, Work,
};

use crate::support::{HostProcess, Inside, PROBE, on_host, program, root};
use crate::world::{
    CLOSED, ELSEWHERE, HOST, INTERNET, INTERNET_SIXTH, expect_closed, in_world, ip, is_closed,
    new_network, until_reached_from_a_neighbour, within,
};

fn network(version: u64, block_all: bool, networks: &[&str]) -> NetworkSpec {
    NetworkSpec {
        version,
        policy: NetworkPolicy {
            block_all,
            allow_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            allow_domains: Vec::new(),
        },
        ..NetworkSpec::default()
    }
}

fn with(network: NetworkSpec) -> impl FnOnce(SandboxSpec) -> SandboxSpec {
    |spec| SandboxSpec { network, ..spec }
}

/// Every way by which something could get out: streams, datagrams, also to the ports of name servers and of QUIC, echo
/// requests, and the host's own name server.
fn ways_out(host: &TestRunner) -> Vec<String> {
    let gateway = host.config.network.pool.gateway();
    let mut ways = Vec::new();
    for address in [INTERNET, ELSEWHERE] {
        for port in [8080, 53, 443] {
            ways.extend(["tcp", "udp"].map(|kind| format!("{kind} {address}:{port}")));
        }
        ways.push(format!("ping {address}"));
    }
    ways.push(format!("connect {gateway}:53"));
    ways
}

async fn expect_open(inside: &Inside<'_>, attempts: &[String]) {
    for (attempt, outcome) in attempts.iter().zip(inside.probes(attempts).await) {
        assert!(
            outcome.starts_with("ok"),
            "the control: {attempt}: {outcome}"
        );
    }
}

async fn set(host: &TestRunner, sandbox: &SandboxId, network: NetworkSpec) {
    let version = network.version;
    let report = host.apply(sandbox, 1, Goal::Networked(network)).await;
    assert_eq!(report.work, Some(Work::Done { image: None }));
    assert_eq!(report.network_version, Some(version));
}

#[test]
fn a_blocked_sandbox_gets_nothing_out_and_an_opened_one_does() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let change = with(network(1, true, &[]));
        let blocked = Inside::start(&host, "blocked", |spec| change(root(spec))).await;
        let ways = ways_out(&host);
        expect_closed(&blocked, &ways).await;
        set(&host, &blocked.id, network(2, false, &[])).await;
        expect_open(&blocked, &ways).await;
        set(&host, &blocked.id, network(3, true, &[])).await;
        expect_closed(&blocked, &ways).await;
    });
}

#[test]
fn a_list_of_networks_opens_no_neighbour_of_theirs() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let only = format!("{INTERNET}/32");
        let listed = Inside::start(&host, "listed", with(network(1, false, &[&only]))).await;
        let (inside, outside): (Vec<String>, Vec<String>) = ways_out(&host)
            .into_iter()
            .partition(|way| way.contains(INTERNET));
        expect_open(&listed, &inside).await;
        expect_closed(&listed, &outside).await;
        // No list opens what is closed to everybody.
        let everything = network(2, false, &["0.0.0.0/0", "10.0.0.0/8"]);
        set(&host, &listed.id, everything).await;
        expect_open(&listed, &outside).await;
        expect_closed(&listed, &["tcp 10.9.9.9:8080".to_owned()]).await;
    });
}

#[test]
fn root_inside_makes_no_way_of_its_own() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let change = with(network(1, true, &[]));
        let blocked = Inside::start(&host, "blocked", |spec| change(root(spec))).await;
        // Raw sockets, packets with headers of one's own, and frames.
        for (family, kind, protocol) in [
            (2, 3, 1),
            (2, 3, 6),
            (2, 3, 255),
            (10, 3, 58),
            (17, 3, 0x300),
            (17, 2, 0x300),
        ] {
            let attempt = format!("syscall {} {family} {kind} {protocol}", libc::SYS_socket);
            let outcome = blocked.probe(&attempt).await;
            assert!(
                ["EPERM", "EAFNOSUPPORT", "EACCES"].contains(&outcome.as_str()),
                "{attempt}: {outcome}"
            );
            if family != 10 {
                assert!(
                    on_host(&attempt).starts_with("ok"),
                    "the control: {attempt}"
                );
            }
        }
        // A network of its own, alone and with a user namespace, would be one where root has all rights.
        for flags in [libc::CLONE_NEWNET, libc::CLONE_NEWNET | libc::CLONE_NEWUSER] {
            let attempt = format!("clone {flags}");
            let outcome = blocked.probe(&attempt).await;
            assert!(!outcome.starts_with("ok"), "{attempt}: {outcome}");
            assert!(
                on_host(&attempt).starts_with("ok"),
                "the control: {attempt}"
            );
        }
        let gateway = host.config.network.pool.gateway();
        let changes = [
            format!("ip route add {INTERNET}/32 dev eth0"),
            format!("ip route replace default via {gateway} dev eth0"),
            format!("ip neigh replace {gateway} lladdr 02:00:00:00:00:01 dev eth0"),
            format!("arp -s {gateway} 02:00:00:00:00:02"),
            "ip address add 10.200.0.99/32 dev eth0".to_owned(),
            "ip link add link eth0 name v0 type macvlan".to_owned(),
            "ip link add t0 type veth peer name t1".to_owned(),
            "ip link set eth0 down".to_owned(),
            "sh -c 'echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6'".to_owned(),
        ];
        for change in &changes {
            let (code, output) = blocked.sh(change).await;
            assert_ne!(code, 0, "{change}: {output}");
        }
        let controls = changes_where_one_may(&gateway.to_string(), &changes);
        for (change, (is_done, words)) in changes.iter().zip(controls) {
            assert!(is_done, "the control: {change}: {words}");
        }
        expect_closed(&blocked, &ways_out(&host)).await;
        set(&host, &blocked.id, network(2, false, &[])).await;
        expect_open(&blocked, &ways_out(&host)).await;
    });
}

/// Whether each of these changes is made in a network that looks like a sandbox's and is one's own.
fn changes_where_one_may(gateway: &str, changes: &[String]) -> Vec<(bool, String)> {
    within(&new_network(), || {
        for step in [
            "link add eth0 type veth peer name other",
            "link set eth0 up",
            "link set other up",
            "address add 10.200.0.2/32 dev eth0",
            &format!("route add {gateway} dev eth0"),
        ] {
            ip(step);
        }
        let made = changes.iter().map(|change| {
            // Not every program that the image has by this one's name is installed on the host.
            let change = change.replace("arp ", "busybox arp ");
            let output = Command::new("sh").arg("-c").arg(change).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), words)
        });
        made.collect()
    })
}

#[test]
fn nothing_of_ipv6_leaves_a_sandbox_although_the_host_passes_it_on() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let inside = Inside::start(&host, "open", root).await;
        let attempt = format!("tcp {INTERNET_SIXTH}:8080");
        assert_eq!(on_host(&attempt), "ok hello", "the control");
        until_reached_from_a_neighbour(&attempt); // The control.
        let outcome = inside.probe(&attempt).await;
        assert!(
            is_closed(&outcome) || outcome == "EADDRNOTAVAIL",
            "{outcome}"
        );
        let fourth = inside.probe(&format!("tcp {INTERNET}:8080")).await;
        assert_eq!(fourth, "ok hello", "the control");
    });
}

#[test]
fn a_policy_holds_over_restarts_of_the_server_and_of_the_sandbox_and_in_a_fork() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let blocked = network(1, true, &[]);
        let id = Inside::start(&host, "box", with(blocked.clone())).await.id;
        let host = host.reopen().await;
        let ways = ways_out(&host);
        let inside = Inside {
            host: &host,
            id: id.clone(),
        };
        expect_closed(&inside, &ways).await;
        // A change outlives the server too.
        set(&host, &id, network(2, false, &[])).await;
        expect_open(&inside, &ways).await;
        set(&host, &id, network(3, true, &[])).await;
        let host = host.reopen().await;
        let inside = Inside {
            host: &host,
            id: id.clone(),
        };
        expect_closed(&inside, &ways).await;

        let child: SandboxId = "child".parse().unwrap();
        let copied = Goal::Copied {
            child: child.clone(),
            child_generation: Generation(1),
        };
        host.apply(&id, 2, copied).await;
        let grace = std::time::Duration::ZERO;
        host.apply(&id, 3, Goal::Stopped { grace }).await;
        let again = |network: NetworkSpec| {
            Goal::Running(SandboxSpec {
                network,
                disk: DiskOrigin::Existing,
                ..host.spec()
            })
        };
        for (sandbox, generation) in [(&id, 4), (&child, 2)] {
            let report = host
                .apply(sandbox, generation, again(network(4, true, &[])))
                .await;
            assert!(
                matches!(report.observed, Observed::Running { .. }),
                "{report:?}"
            );
            // What is in /tmp went with the stop.
            let inside = Inside {
                host: &host,
                id: sandbox.clone(),
            };
            inside
                .upload(PROBE, std::fs::read(program()).unwrap())
                .await;
            inside.expect(&format!("chmod 755 {PROBE}")).await;
            expect_closed(&inside, &ways).await;
        }
        let open = Goal::Networked(network(5, false, &[]));
        host.apply(&child, 2, open).await;
        let inside = Inside {
            host: &host,
            id: child,
        };
        expect_open(&inside, &ways).await;
    });
}

/// What the sandbox's programs are told of as their proxy, tried by one of them.
async fn try_proxy(inside: &Inside<'_>) -> String {
    let command = format!("{PROBE} tcp ${{http_proxy#http://}}");
    inside.expect(&command).await
}

#[test]
fn a_sandboxs_own_proxy_opens_nothing_that_is_closed() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let _service = HostProcess::hold("serve 0.0.0.0:9001");
        let neighbour = Inside::start(&host, "neighbour", root).await;
        assert_eq!(neighbour.hold("serve 0.0.0.0:9000").await, "ready");
        let address = "ip -4 -o address show dev eth0 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1";
        let neighbour = format!("{}:9000", neighbour.expect(address).await);
        let gateway = host.config.network.pool.gateway();
        let with_proxy = |place: &str, network: NetworkSpec| {
            let proxy = OutboundProxy::parse(&format!("http://user:word@{place}")).unwrap();
            // The login is in the way of the probe, and no matter of addresses.
            let told = proxy.variables();
            let told = told.map(|(name, url)| (name.to_owned(), url.replace("user:word@", "")));
            let told: Vec<_> = told.collect();
            move |spec: SandboxSpec| SandboxSpec {
                network,
                env: spec.env.into_iter().chain(told).collect(),
                ..spec
            }
        };
        let open = || network(1, false, &[]);
        let outside = format!("{INTERNET}:8080");
        let used = Inside::start(&host, "used", with_proxy(&outside, open())).await;
        assert_eq!(try_proxy(&used).await, "ok hello", "the control");
        let closed = [
            format!("{}:8080", CLOSED[0]),
            format!("{}:8080", CLOSED[2]),
            format!("{HOST}:9001"),
            format!("{gateway}:9001"),
            neighbour,
        ];
        for (number, place) in closed.iter().enumerate() {
            let outcome = on_host(&format!("tcp {place}"));
            assert_eq!(outcome, "ok hello", "the control: {place}");
            let name = format!("closed-{number}");
            let inside = Inside::start(&host, &name, with_proxy(place, open())).await;
            let outcome = try_proxy(&inside).await;
            assert!(is_closed(&outcome), "{place}: {outcome}");
        }
        // A policy holds it too, and lifting that opens it as anything else.
        let held = with_proxy(&outside, network(1, true, &[]));
        let held = Inside::start(&host, "held", held).await;
        let outcome = try_proxy(&held).await;
        assert!(is_closed(&outcome), "{outcome}");
        set(
            &host,
            &held.id,
            network(2, false, &[&format!("{INTERNET}/32")]),
        )
        .await;
        assert_eq!(try_proxy(&held).await, "ok hello");
        expect_closed(&held, &[format!("tcp {ELSEWHERE}:8080")]).await;
    });
}

/// What the first process of the image finds: a greeting, or nothing.
async fn first_word(host: &TestRunner, sandbox: &SandboxId) -> String {
    wait::until("the first process has tried", async || {
        let (_, text) = host.execute(sandbox, "cat /tmp/first 2>/dev/null").await;
        if text.contains("done") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    let (_, text) = host.execute(sandbox, "cat /tmp/first").await;
    text
}

fn eager(network: NetworkSpec) -> impl Fn(SandboxSpec) -> SandboxSpec {
    move |spec| {
        let tries = format!(
            "(nc -w 2 {INTERNET} 8080 </dev/null; echo done) >/tmp/.first 2>&1; mv /tmp/.first /tmp/first; sleep 1000"
        );
        SandboxSpec {
            network: network.clone(),
            entrypoint: ["/bin/sh", "-c", &tries].map(str::to_owned).to_vec(),
            ..spec
        }
    }
}

#[test]
fn a_policy_stands_before_the_first_process_of_a_new_sandbox_and_of_one_that_waited() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let kind = WarmKind {
            pool: "a".to_owned(),
            image: host.image.clone(),
            resources: host.spec().resources,
        };
        let wish = WarmWish {
            kind: kind.clone(),
            size: 2,
        };
        host.runner.keep_warm(vec![wish]);
        wait::until("two members wait", async || {
            let states = host.runner.warm_states();
            if states.iter().map(|state| state.ready).sum::<u32>() == 2 {
                Ok(())
            } else {
                Err(states)
            }
        })
        .await;
        let mut members = Vec::new();
        for _ in 0..2 {
            members.push(
                host.runner
                    .take_warm(std::slice::from_ref(&kind))
                    .unwrap()
                    .to_string(),
            );
        }
        host.runner.keep_warm(Vec::new());
        let names = [&members[0], "new-blocked", &members[1], "new-open"].map(str::to_owned);
        for (number, name) in names.into_iter().enumerate() {
            let is_blocked = number < 2;
            let id = host
                .run_with(&name, eager(network(1, is_blocked, &[])))
                .await;
            let word = first_word(&host, &id).await;
            assert_eq!(word.contains("hello"), !is_blocked, "{name}: {word}");
        }
    });
}
