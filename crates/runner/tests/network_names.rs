//! Real packets against policies that name hosts. Needs root, `ip` and `nft`.
//!
//! Each attempt at a way round has its control: the same attempt of a neighbour that may reach everything succeeds.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "network/services.rs"]
mod services;
#[path = "network/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the network itself")]
mod world;

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use alcove_domain::NetworkPolicy;
use alcove_runner::net::{Network, NetworkConfig, NetworkSlot, SlotError};
use alcove_runner_api::NetworkSpec;

use services::{Call, Shared, Zone, connects, datagram_returns, read_answer, request};
use world::{
    CLOSED, HOST, INTERNET, INTERNET_ROUTER, PATIENCE, WEB_PORT, World, ask, ask_by_stream,
    dns_query, eventually, in_world, is_closed, run, serve_web, within,
};

const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;
const TXT: u16 = 16;
const HTTPS: u16 = 65;
const AAAA: u16 = 28;

fn spec(networks: &[&str], domains: &[&str]) -> NetworkSpec {
    NetworkSpec {
        version: 1,
        policy: NetworkPolicy {
            block_all: false,
            allow_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            allow_domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
        },
        ..NetworkSpec::default()
    }
}

/// A network whose internet has names, a sandbox that may reach some of them, and one that may reach everything.
struct Stage {
    network: Network,
    zone: Zone,
    shared: Shared,
    held: NetworkSlot,
    open: NetworkSlot,
}

/// So small that a slot comes round again.
fn config(world: &World) -> NetworkConfig {
    let mut config = world.config();
    config.pool = "10.200.7.0/28".parse().unwrap();
    config
}

impl Stage {
    async fn set(world: &World, domains: &[&str]) -> Self {
        let (zone, shared) = within(&world.internet, || {
            let zone = Zone::serve(
                INTERNET,
                vec![
                    ("a.example", vec![INTERNET]),
                    ("b.example", vec![INTERNET]),
                    ("deep.down.c.example", vec![INTERNET_ROUTER]),
                    ("private.example", CLOSED.to_vec()),
                    (
                        "host.example",
                        vec![HOST, Ipv4Addr::LOCALHOST, config(world).pool.gateway()],
                    ),
                    ("mixed.example", vec![CLOSED[2], INTERNET, HOST]),
                ],
            );
            (
                zone,
                Shared::serve(&["a.example", "b.example", "deep.down.c.example"]),
            )
        });
        serve_web(80);
        world.set_upstreams(&format!("nameserver {INTERNET}\n"));
        let network = Network::open(config(world), &[]).await.unwrap();
        let (held, open) = (network.take().await.unwrap(), network.take().await.unwrap());
        network
            .set_policy(held.index, &spec(&[], domains))
            .await
            .unwrap();
        network
            .set_policy(open.index, &spec(&[], &[]))
            .await
            .unwrap();
        Self {
            network,
            zone,
            shared,
            held,
            open,
        }
    }

    fn resolve(slot: &NetworkSlot, name: &str) -> (u8, Vec<Ipv4Addr>) {
        let query = dns_query(7, name);
        let answer = within(&slot.netns, || ask(slot.gateway, &query)).unwrap();
        read_answer(&query, &answer)
    }

    /// Greeted by TLS, or not.
    fn tls(&self, netns: &OwnedFd, address: Ipv4Addr, name: &str) -> Option<Call> {
        let (greeting, call) = within(netns, || self.shared.call(address, name)).ok()?;
        assert_eq!(greeting, format!("hello from {name}"));
        Some(call)
    }

    /// Whether a server at the address that all names share is reached under this one.
    fn passes(&self, slot: &NetworkSlot, name: &str) -> bool {
        self.tls(&slot.netns, INTERNET, name).is_some()
    }
}

#[test]
fn a_listed_name_is_reached_by_tls_and_by_requests() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example", "*.c.example"]).await;
        for (name, address) in [
            ("a.example", INTERNET),
            ("deep.down.c.example", INTERNET_ROUTER),
        ] {
            let at = vec![address];
            assert_eq!(Stage::resolve(&stage.held, name), (NO_ERROR, at));
            let mut call = stage.tls(&stage.held.netns, address, name).unwrap();
            assert!(call.echoes());
            let answer = within(&stage.held.netns, || request(address, &[name, name])).unwrap();
            assert_eq!(
                answer.matches(&format!("hello from {name}")).count(),
                2,
                "{answer}"
            );
        }
        let query = dns_query(7, "A.Example");
        let answer = within(&stage.held.netns, || {
            ask_by_stream(stage.held.gateway, &query)
        })
        .unwrap();
        assert_eq!(read_answer(&query, &answer), (NO_ERROR, vec![INTERNET]));
        stage.network.detach().await;
    });
}

#[test]
fn an_unlisted_name_is_not_resolved_and_no_question_for_it_leaves_the_host() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example", "*.c.example"]).await;
        for name in [
            "b.example",
            "c.example",
            "xa.example",
            "a.example.b.example",
            "c2VjcmV0.b.example",
        ] {
            assert_eq!(
                Stage::resolve(&stage.held, name),
                (NO_SUCH_NAME, vec![]),
                "{name}"
            );
        }
        assert!(!stage.zone.was_asked("b.example"));
        // Of a listed name nothing but addresses, and nothing that the sandbox wrote behind its question.
        for kind in [TXT, HTTPS, AAAA] {
            let mut query = dns_query(7, "a.example");
            let at = query.len() - 4;
            query[at..at + 2].copy_from_slice(&kind.to_be_bytes());
            let answer = within(&stage.held.netns, || ask(stage.held.gateway, &query)).unwrap();
            assert_eq!(read_answer(&query, &answer), (NO_ERROR, vec![]), "{kind}");
        }
        assert!(!stage.zone.was_asked("a.example"));
        // Other servers than ours, by each way that names can be asked for.
        let query = dns_query(7, "b.example");
        assert!(!within(&stage.held.netns, || datagram_returns(
            INTERNET, 53, &query
        )));
        assert!(!within(&stage.held.netns, || datagram_returns(
            INTERNET_ROUTER,
            53,
            &query
        )));
        assert!(within(&stage.held.netns, || ask_by_stream(INTERNET_ROUTER, &query)).is_err());
        within(&world.internet, || serve_web(853));
        assert!(within(&stage.held.netns, || is_closed((
            INTERNET_ROUTER,
            853
        ))));
        assert!(!stage.zone.was_asked("b.example"));

        // The control: the same questions of a sandbox that may ask for anything.
        assert_eq!(
            Stage::resolve(&stage.open, "b.example"),
            (NO_ERROR, vec![INTERNET])
        );
        Stage::resolve(&stage.open, "c2VjcmV0.b.example");
        assert!(stage.zone.was_asked("c2VjcmV0.b.example"));
        assert!(within(&stage.open.netns, || datagram_returns(
            INTERNET, 53, &query
        )));
        assert!(within(&stage.open.netns, || ask_by_stream(INTERNET_ROUTER, &query)).is_ok());
        assert!(within(&stage.open.netns, || !is_closed((
            INTERNET_ROUTER,
            853
        ))));
        stage.network.detach().await;
    });
}

#[test]
fn an_address_is_closed_until_its_name_was_asked_for_and_then_open_on_two_ports_only() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example"]).await;
        let tries = |slot: &NetworkSlot| {
            within(&slot.netns, || {
                [
                    connects(INTERNET, 443),
                    connects(INTERNET, 80),
                    connects(INTERNET, WEB_PORT),
                    connects(INTERNET_ROUTER, 443),
                    datagram_returns(INTERNET, 443, b"quic"),
                    world::ping(INTERNET),
                ]
            })
        };
        assert_eq!(tries(&stage.held), [false; 6]);
        assert_eq!(tries(&stage.open), [true; 6], "the control");
        Stage::resolve(&stage.held, "a.example");
        assert_eq!(tries(&stage.held), [true, true, false, false, false, false]);
        // Nobody gets in by the gate's own door.
        assert!(!within(&stage.held.netns, || connects(
            stage.held.gateway,
            54
        )));
        assert!(!within(&stage.open.netns, || connects(
            stage.open.gateway,
            54
        )));
        stage.network.detach().await;
    });
}

#[test]
fn a_shared_address_opens_no_neighbour() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example", "deep.down.c.example"]).await;
        Stage::resolve(&stage.held, "a.example");
        assert!(stage.passes(&stage.held, "a.example"));
        for name in [
            "b.example",
            "deep.down.c.example",
            "xa.example",
            "203.0.113.7",
        ] {
            assert!(!stage.passes(&stage.held, name), "{name}");
        }
        let answer = within(&stage.held.netns, || {
            request(INTERNET, &["a.example", "b.example"])
        })
        .unwrap();
        assert!(
            answer.contains("hello from a.example") && !answer.contains("hello from b.example"),
            "{answer}"
        );
        assert!(answer.contains("may not reach b.example"), "{answer}");

        assert!(stage.passes(&stage.open, "b.example"), "the control");
        let answer = within(&stage.open.netns, || {
            request(INTERNET, &["a.example", "b.example"])
        })
        .unwrap();
        assert!(
            answer.contains("hello from b.example"),
            "the control: {answer}"
        );
        stage.network.detach().await;
    });
}

#[test]
fn a_listed_name_that_points_inside_opens_nothing_there() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["*.example"]).await;
        for name in ["private.example", "host.example"] {
            assert_eq!(
                Stage::resolve(&stage.held, name),
                (NO_ERROR, vec![]),
                "{name}"
            );
            assert!(stage.zone.was_asked(name), "the control");
        }
        assert_eq!(
            Stage::resolve(&stage.held, "mixed.example"),
            (NO_ERROR, vec![INTERNET])
        );
        for address in CLOSED.into_iter().chain([HOST, stage.held.gateway]) {
            assert!(connects(address, 80), "the control: {address}");
            assert!(
                !within(&stage.held.netns, || connects(address, 80)),
                "{address}"
            );
            assert!(
                !within(&stage.held.netns, || connects(address, 443)),
                "{address}"
            );
        }
        stage.network.detach().await;
    });
}

#[test]
fn networks_and_names_stand_side_by_side() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &[]).await;
        let both = spec(&["198.51.100.1/32"], &["a.example"]);
        stage
            .network
            .set_policy(stage.held.index, &both)
            .await
            .unwrap();
        // What is listed as a network needs no name, also where a name leads there.
        let by_address = || {
            within(&stage.held.netns, || {
                !is_closed((INTERNET_ROUTER, WEB_PORT))
            })
        };
        assert!(by_address());
        assert!(
            stage
                .tls(&stage.held.netns, INTERNET_ROUTER, "b.example")
                .is_some()
        );
        Stage::resolve(&stage.held, "a.example");
        assert!(stage.passes(&stage.held, "a.example"));
        assert!(!stage.passes(&stage.held, "b.example"));
        stage.network.detach().await;
    });
}

#[test]
fn another_list_cuts_what_it_does_not_name_and_leaves_the_rest() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example", "b.example"]).await;
        Stage::resolve(&stage.held, "a.example");
        Stage::resolve(&stage.held, "b.example");
        let mut a = stage.tls(&stage.held.netns, INTERNET, "a.example").unwrap();
        let mut b = stage.tls(&stage.held.netns, INTERNET, "b.example").unwrap();
        assert!(a.echoes() && b.echoes());
        let change = async |spec: NetworkSpec| {
            stage
                .network
                .set_policy(stage.held.index, &spec)
                .await
                .unwrap();
            stage.network.cut(stage.held.index).await.unwrap();
        };
        change(spec(&[], &["b.example"])).await;
        eventually("the closed name is cut", || !a.echoes()).await;
        assert!(b.echoes());
        assert!(!stage.passes(&stage.held, "a.example"));
        assert!(
            stage.passes(&stage.held, "b.example"),
            "it still stands open"
        );
        let mut blocked = spec(&[], &[]);
        blocked.policy.block_all = true;
        change(blocked).await;
        eventually("everything is cut", || !b.echoes()).await;
        assert!(!within(&stage.held.netns, || connects(INTERNET, 443)));
        change(spec(&[], &[])).await;
        assert!(
            stage.passes(&stage.held, "a.example"),
            "nothing holds it any more"
        );
        stage.network.detach().await;
    });
}

#[test]
fn without_a_server_names_lead_nowhere_and_the_next_one_opens_them_again() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example"]).await;
        Stage::resolve(&stage.held, "a.example");
        assert!(stage.passes(&stage.held, "a.example"));
        stage.network.detach().await;
        for port in [80, 443] {
            assert!(!within(&stage.held.netns, || connects(INTERNET, port)));
        }
        let running = [
            (stage.held.index, spec(&[], &["a.example"])),
            (stage.open.index, spec(&[], &[])),
        ];
        let network = Network::open(config(&world), &running).await.unwrap();
        assert!(!within(&stage.held.netns, || connects(INTERNET, 443)));
        assert_eq!(
            Stage::resolve(&stage.held, "b.example"),
            (NO_SUCH_NAME, vec![])
        );
        assert_eq!(
            Stage::resolve(&stage.held, "a.example"),
            (NO_ERROR, vec![INTERNET])
        );
        assert!(stage.passes(&stage.held, "a.example"));
        assert!(!stage.passes(&stage.held, "b.example"));
        network.detach().await;
    });
}

#[test]
fn open_addresses_come_back_with_a_table_that_somebody_flushes() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example"]).await;
        Stage::resolve(&stage.held, "a.example");
        let table = config(&world).table;
        run("nft", "flush ruleset");
        eventually("the table is back", || {
            run("nft", "list tables").contains(&table)
        })
        .await;
        assert!(stage.passes(&stage.held, "a.example"));
        assert!(!stage.passes(&stage.held, "b.example"));
        stage.network.detach().await;
    });
}

#[test]
fn the_next_holder_of_a_slot_inherits_no_name() {
    in_world(|world| async move {
        let stage = Stage::set(&world, &["a.example"]).await;
        Stage::resolve(&stage.held, "a.example");
        let Stage {
            network,
            zone,
            shared,
            held,
            open,
        } = stage;
        let (index, address) = (held.index, held.address);
        let name = held.host_interface.clone();
        drop(held);
        network.release(index);
        let is_listed =
            || run("nft", &format!("list table inet {}", config(&world).table)).contains(&name);
        eventually("the entries are gone", || !is_listed()).await;
        let (mut others, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        let held = loop {
            match network.take().await {
                Ok(slot) if slot.address == address => break slot,
                Ok(slot) => others.push(slot),
                // Its number becomes free after its entries have gone.
                Err(SlotError::Full { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        network
            .set_policy(held.index, &spec(&[], &["b.example"]))
            .await
            .unwrap();
        let stage = Stage {
            network,
            zone,
            shared,
            held,
            open,
        };
        assert!(!within(&stage.held.netns, || connects(INTERNET, 443)));
        assert_eq!(
            Stage::resolve(&stage.held, "a.example"),
            (NO_SUCH_NAME, vec![])
        );
        Stage::resolve(&stage.held, "b.example");
        assert!(!stage.passes(&stage.held, "a.example"));
        assert!(stage.passes(&stage.held, "b.example"));
        stage.network.detach().await;
    });
}
