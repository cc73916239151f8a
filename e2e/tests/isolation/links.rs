//! Linked sandboxes, from inside of them: they reach each other, and all others are as far away as ever.

use alcove_e2e::runner::TestRunner;
use alcove_runner_api::{Goal, NetworkSpec, Peer, SandboxSpec};

use crate::support::{Inside, root};
use crate::world::{expect_closed, in_world};

fn network(name: &str, owner: Option<&str>) -> NetworkSpec {
    NetworkSpec {
        version: 1,
        peer: Some(Peer {
            sandbox: name.parse().unwrap(),
            name: name.to_owned(),
        }),
        linked_to: owner.map(|owner| owner.parse().unwrap()),
        ..NetworkSpec::default()
    }
}

async fn start<'a>(host: &'a TestRunner, name: &str, owner: Option<&str>) -> Inside<'a> {
    let network = network(name, owner);
    let inside = Inside::start(host, name, |spec| root(SandboxSpec { network, ..spec })).await;
    assert_eq!(inside.hold("serve 0.0.0.0:9000").await, "ready");
    inside
}

async fn address(inside: &Inside<'_>) -> String {
    inside
        .expect("ip -4 -o address show dev eth0 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1")
        .await
}

async fn ways_to(inside: &Inside<'_>) -> Vec<String> {
    let address = address(inside).await;
    [("tcp", ":9000"), ("udp", ":9000"), ("ping", "")]
        .map(|(kind, port)| format!("{kind} {address}{port}"))
        .to_vec()
}

async fn expect_open(inside: &Inside<'_>, attempts: &[String]) {
    for (attempt, outcome) in attempts.iter().zip(inside.probes(attempts).await) {
        assert!(outcome.starts_with("ok"), "{attempt}: {outcome}");
    }
}

#[test]
fn linked_sandboxes_reach_each_other_by_address_and_by_name_and_strangers_reach_neither() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let owner = start(&host, "owner", None).await;
        let follower = start(&host, "follower", Some("owner")).await;
        let other = start(&host, "other", Some("owner")).await;
        let stranger = start(&host, "stranger", None).await;
        let all = [&owner, &follower, &other, &stranger];
        for from in 0..4 {
            for to in (0..4).filter(|to| *to != from) {
                let ways = ways_to(all[to]).await;
                if from.min(to) == 0 && from.max(to) < 3 {
                    expect_open(all[from], &ways).await;
                } else {
                    expect_closed(all[from], &ways).await;
                }
            }
        }
        let gateway = host.config.network.pool.gateway();
        let ask = format!("nslookup -type=a follower.sandbox.internal {gateway} 2>&1");
        let (_, found) = owner.sh(&ask).await;
        assert!(found.contains(&address(&follower).await), "{found}");
        let (_, found) = stranger.sh(&ask).await;
        assert!(found.contains("NXDOMAIN"), "{found}");
    });
}

#[test]
fn a_link_goes_with_who_stops_and_comes_back_with_who_starts() {
    in_world(|| async move {
        let host = TestRunner::start().await;
        let owner = start(&host, "owner", None).await;
        let follower = start(&host, "follower", Some("owner")).await;
        let before = ways_to(&owner).await;
        expect_open(&follower, &before).await;
        let grace = std::time::Duration::ZERO;
        host.apply(&owner.id, 2, Goal::Stopped { grace }).await;
        // Whoever is given the address that is free now is no stand-in for the owner.
        let stranger = start(&host, "stranger", None).await;
        expect_closed(&follower, &before).await;
        expect_closed(&follower, &ways_to(&stranger).await).await;
        let spec = root(SandboxSpec {
            network: network("owner", None),
            ..host.spec()
        });
        host.apply(&owner.id, 3, Goal::Running(spec)).await;
        assert_eq!(owner.hold("serve 0.0.0.0:9000").await, "ready");
        expect_open(&follower, &ways_to(&owner).await).await;
        expect_open(&owner, &ways_to(&follower).await).await;
        expect_closed(&stranger, &ways_to(&owner).await).await;
    });
}
