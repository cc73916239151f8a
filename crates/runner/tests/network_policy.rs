//! Real packets against the policies of sandboxes. Needs root, `ip` and `nft`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "network/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the network itself")]
mod world;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;

use alcove_domain::NetworkPolicy;
use alcove_runner::net::{LIMITED_MARK, Network};
use alcove_runner_api::NetworkSpec;

use world::{
    HOST, HOST_PORT, INTERNET, INTERNET_ROUTER, PATIENCE, SILENCE, WEB_PORT, World, ask,
    ask_by_stream, dns_query, eventually, in_world, ip, is_closed, ping, run, seen_as, within,
};

async fn open(world: &World) -> Network {
    Network::open(world.config(), &[]).await.unwrap()
}

fn spec(block_all: bool, networks: &[&str], domains: &[&str]) -> NetworkSpec {
    NetworkSpec {
        version: 1,
        policy: NetworkPolicy {
            block_all,
            allow_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            allow_domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
        },
        ..NetworkSpec::default()
    }
}

fn everything() -> NetworkSpec {
    spec(false, &[], &[])
}

fn nothing() -> NetworkSpec {
    spec(true, &[], &[])
}

/// Whether each of these gets through: a stream, a ping and a datagram to the internet, a question by datagram and by
/// stream to the resolver.
fn passes(netns: &OwnedFd, gateway: Ipv4Addr) -> [bool; 5] {
    within(netns, || {
        let query = dns_query(7, "example.org");
        [
            !is_closed((INTERNET, WEB_PORT)),
            ping(INTERNET),
            ask(INTERNET_ROUTER, &query).is_ok(),
            ask(gateway, &query).is_ok(),
            ask_by_stream(gateway, &query).is_ok(),
        ]
    })
}

#[test]
fn a_slot_reaches_nothing_before_it_has_a_policy_and_after_it_is_blocked() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = network.take().await.unwrap();
        assert_eq!(passes(&slot.netns, slot.gateway), [false; 5]);
        network.set_policy(slot.index, &everything()).await.unwrap();
        assert_eq!(passes(&slot.netns, slot.gateway), [true; 5], "the control");
        network.set_policy(slot.index, &nothing()).await.unwrap();
        network.cut(slot.index).await.unwrap();
        assert_eq!(passes(&slot.netns, slot.gateway), [false; 5]);
        network.detach().await;
    });
}

#[test]
fn a_list_of_networks_opens_these_and_no_others() {
    in_world(|world| async move {
        let network = open(&world).await;
        let (slot, neighbour) = (network.take().await.unwrap(), network.take().await.unwrap());
        network
            .set_policy(neighbour.index, &everything())
            .await
            .unwrap();
        let reaches = |netns: &OwnedFd| {
            let of = |address| within(netns, || !is_closed((address, WEB_PORT)));
            [of(INTERNET), of(INTERNET_ROUTER)]
        };
        for (networks, expected) in [
            (&["203.0.113.7/32"][..], [true, false]),
            (&["203.0.113.6/31"][..], [true, false]),
            (&["203.0.113.8/29"][..], [false, false]),
            (&["192.0.0.0/4"][..], [true, true]),
            (&["128.0.0.0/1"][..], [true, true]),
            (&["198.51.100.1/32", "9.0.0.0/8"][..], [false, true]),
            (&["0.0.0.0/0"][..], [true, true]),
        ] {
            let list = spec(false, networks, &[]);
            network.set_policy(slot.index, &list).await.unwrap();
            assert_eq!(reaches(&slot.netns), expected, "{networks:?}");
            assert_eq!(reaches(&neighbour.netns), [true; 2], "the neighbour's own");
        }
        // What is closed to everybody stays so.
        let list = spec(false, &["198.51.100.2/32", "10.0.0.0/8"], &[]);
        network.set_policy(slot.index, &list).await.unwrap();
        assert!(within(&slot.netns, || is_closed((HOST, HOST_PORT))));
        assert!(within(&slot.netns, || is_closed(([10, 9, 9, 9], WEB_PORT))));
        assert!(within(&slot.netns, || is_closed((slot.gateway, HOST_PORT))));
        network.detach().await;
    });
}

/// A server that sends back what it gets.
fn serve_echo(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn connect(netns: &OwnedFd, server: Ipv4Addr, port: u16) -> TcpStream {
    let stream = within(netns, || {
        TcpStream::connect_timeout(&(server, port).into(), PATIENCE).unwrap()
    });
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0; 1]).is_ok()
}

#[test]
fn conversations_that_a_new_policy_does_not_allow_are_cut_and_others_go_on() {
    in_world(|world| async move {
        within(&world.internet, || serve_echo(7001));
        let network = open(&world).await;
        let slot = network.take().await.unwrap();
        network.set_policy(slot.index, &everything()).await.unwrap();
        let mut kept = connect(&slot.netns, INTERNET, 7001);
        let mut cut = connect(&slot.netns, INTERNET_ROUTER, 7001);
        assert!(echoes(&mut kept) && echoes(&mut cut));

        let list = spec(false, &["203.0.113.0/24"], &[]);
        network.set_policy(slot.index, &list).await.unwrap();
        assert!(echoes(&mut cut), "the control: a policy alone cuts nothing");
        network.cut(slot.index).await.unwrap();
        // Told at once, not after the time that a lost packet takes.
        let error = cut
            .write_all(b"x")
            .and_then(|()| cut.read_exact(&mut [0; 1]));
        assert_eq!(
            error.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
        assert!(echoes(&mut kept));
        network.detach().await;
    });
}

#[test]
fn datagrams_of_an_old_conversation_do_not_pass_a_new_policy() {
    in_world(|world| async move {
        let server = within(&world.internet, || {
            UdpSocket::bind((INTERNET, 7000)).unwrap()
        });
        let network = open(&world).await;
        let slot = network.take().await.unwrap();
        network.set_policy(slot.index, &everything()).await.unwrap();
        let talker = within(&slot.netns, || {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5000)).unwrap()
        });
        talker.send_to(b"hello", (INTERNET, 7000)).unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let (_, client) = server.recv_from(&mut [0; 16]).unwrap();

        network.set_policy(slot.index, &nothing()).await.unwrap();
        network.cut(slot.index).await.unwrap();
        server.set_read_timeout(Some(SILENCE)).unwrap();
        talker.set_read_timeout(Some(SILENCE)).unwrap();
        let _ = talker.send_to(b"again", (INTERNET, 7000));
        assert!(server.recv(&mut [0; 16]).is_err(), "nothing gets out");
        server.send_to(b"back", client).unwrap();
        assert!(talker.recv(&mut [0; 16]).is_err(), "nothing gets in");
        network.detach().await;
    });
}

#[test]
fn policies_stand_after_a_restart_before_anything_is_asked() {
    in_world(|world| async move {
        let network = open(&world).await;
        let mut slots = Vec::new();
        for _ in 0..3 {
            slots.push(network.take().await.unwrap());
        }
        network.detach().await;
        drop(network);
        let specs = [
            nothing(),
            spec(false, &["203.0.113.0/24"], &[]),
            everything(),
        ];
        let running: Vec<_> = slots.iter().map(|slot| slot.index).zip(specs).collect();
        let network = Network::open(world.config(), &running).await.unwrap();
        let expected = [[false; 5], [true, true, false, false, false], [true; 5]];
        for (slot, expected) in slots.iter().zip(expected) {
            assert_eq!(passes(&slot.netns, slot.gateway), expected);
        }
        network.detach().await;
    });
}

#[test]
fn policies_come_back_with_a_table_that_somebody_flushes_or_an_entry_that_somebody_takes() {
    in_world(|world| async move {
        let network = open(&world).await;
        let (blocked, opened) = (network.take().await.unwrap(), network.take().await.unwrap());
        network.set_policy(blocked.index, &nothing()).await.unwrap();
        network
            .set_policy(opened.index, &everything())
            .await
            .unwrap();
        let table = world.config().table;
        let is_right = || {
            passes(&blocked.netns, blocked.gateway) == [false; 5]
                && passes(&opened.netns, opened.gateway) == [true; 5]
        };
        assert!(is_right(), "the control");
        run("nft", "flush ruleset");
        eventually("the table is back", || {
            run("nft", "list tables").contains(&table)
        })
        .await;
        assert!(is_right());
        run(
            "nft",
            &format!(
                "add element inet {table} open {{ \"{}\" }}",
                blocked.host_interface
            ),
        );
        eventually("the false entry is gone", is_right).await;
        run("nft", &format!("flush set inet {table} open"));
        eventually("the entry is back", is_right).await;
        network.detach().await;
    });
}

#[test]
fn a_used_slot_has_no_policy_left() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = network.take().await.unwrap();
        let mut spec = spec(false, &["203.0.113.0/24"], &["example.org"]);
        spec.is_limited = true;
        network.set_policy(slot.index, &spec).await.unwrap();
        let (name, table) = (slot.host_interface.clone(), world.config().table);
        let is_listed = || run("nft", &format!("list table inet {table}")).contains(&name);
        assert!(is_listed(), "the control");
        let index = slot.index;
        drop(slot);
        network.release(index);
        eventually("the entries are gone", || !is_listed()).await;
        network.detach().await;
    });
}

#[test]
fn what_is_limited_carries_the_mark_for_the_hosts_shaping() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = network.take().await.unwrap();
        run("nft", "add table inet shaper");
        run(
            "nft",
            "add chain inet shaper out { type filter hook postrouting priority 300 ; }",
        );
        run(
            "nft",
            &format!("add rule inet shaper out meta mark {LIMITED_MARK} counter"),
        );
        let is_counted = || !run("nft", "list chain inet shaper out").contains("packets 0 ");
        let mut spec = everything();
        network.set_policy(slot.index, &spec).await.unwrap();
        assert!(within(&slot.netns, || !is_closed((INTERNET, WEB_PORT))));
        assert!(!is_counted(), "the control");
        spec.is_limited = true;
        network.set_policy(slot.index, &spec).await.unwrap();
        assert!(within(&slot.netns, || !is_closed((INTERNET, WEB_PORT))));
        assert!(is_counted());
        network.detach().await;
    });
}

#[test]
fn private_networks_that_the_operator_opens_are_open_and_no_others() {
    in_world(|world| async move {
        let mut config = world.config();
        config.allow_private = ["10.9.9.0/24", "192.168.77.1/32", "100.64.0.0/10"]
            .map(|network| network.parse().unwrap())
            .to_vec();
        within(&world.internet, || {
            ip("address add 10.9.10.9/32 dev lo");
            ip("address add 100.100.100.200/32 dev lo");
        });
        // The host has an address in an opened network too.
        let network = Network::open(config, &[]).await.unwrap();
        ip("address add 10.9.9.1/32 dev lo");
        let (slot, neighbour) = (network.take().await.unwrap(), network.take().await.unwrap());
        for slot in [&slot, &neighbour] {
            network.set_policy(slot.index, &everything()).await.unwrap();
        }
        within(&neighbour.netns, || world::serve_web(WEB_PORT));
        let reaches = |address: [u8; 4], port| within(&slot.netns, || !is_closed((address, port)));
        assert!(reaches([10, 9, 9, 9], WEB_PORT));
        assert!(reaches([192, 168, 77, 1], WEB_PORT));
        assert!(reaches([100, 64, 1, 1], WEB_PORT));
        for closed in [
            [10, 9, 10, 9],
            [172, 20, 1, 1],
            [169, 254, 169, 254],
            [100, 100, 100, 200],
        ] {
            assert!(
                seen_as((closed, WEB_PORT), PATIENCE).is_ok(),
                "the control: {closed:?}"
            );
            assert!(!reaches(closed, WEB_PORT), "{closed:?}");
        }
        assert!(!reaches([10, 9, 9, 1], HOST_PORT), "the host itself");
        assert!(!reaches(neighbour.address.octets(), WEB_PORT));
        network.detach().await;
    });
}
