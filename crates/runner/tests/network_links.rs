//! Real packets between linked sandboxes, and from all others. Needs root, `ip` and `nft`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "network/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the network itself")]
mod world;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use alcove_domain::{NetworkPolicy, SandboxId};
use alcove_runner::net::{Network, NetworkSlot};
use alcove_runner_api::{NetworkSpec, Peer};

use world::{
    INTERNET, PATIENCE, SILENCE, WEB_PORT, World, ask, dns_query, eventually, in_world, is_closed,
    ping, run, seen_as, within,
};

fn id(number: u8) -> SandboxId {
    format!("00000000-0000-4000-8000-0000000000{number:02x}")
        .parse()
        .unwrap()
}

fn spec(number: u8, owner: Option<u8>) -> NetworkSpec {
    NetworkSpec {
        version: 1,
        peer: Some(Peer {
            sandbox: id(number),
            name: format!("Box-{number}"),
        }),
        linked_to: owner.map(id),
        ..NetworkSpec::default()
    }
}

fn held(spec: NetworkSpec, block_all: bool, networks: &[&str], domains: &[&str]) -> NetworkSpec {
    NetworkSpec {
        policy: NetworkPolicy {
            block_all,
            allow_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            allow_domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
        },
        ..spec
    }
}

/// A slot with a policy and a server in it.
async fn take(network: &Network, spec: &NetworkSpec) -> NetworkSlot {
    let slot = network.take().await.unwrap();
    network.set_policy(slot.index, spec).await.unwrap();
    within(&slot.netns, || world::serve_web(WEB_PORT));
    slot
}

async fn open(world: &World) -> Network {
    let network = Network::open(world.config(), &[]).await.unwrap();
    // What is silent here must not be silent because nobody listens.
    let control = take(&network, &spec(99, None)).await;
    assert!(within(&control.netns, || !is_closed((
        control.address,
        WEB_PORT
    ))));
    network
}

/// Whether a datagram gets from one to the other. It leaves no thread behind that would hold on to a network.
fn reaches_by_datagram(from: &NetworkSlot, to: &NetworkSlot) -> bool {
    let server = within(&to.netns, || {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()
    });
    server.set_read_timeout(Some(SILENCE)).unwrap();
    let port = server.local_addr().unwrap().port();
    within(&from.netns, || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let _ = socket.send_to(b"x", (to.address, port));
    });
    server.recv(&mut [0; 4]).is_ok()
}

/// Whether a stream, a datagram and a ping get from one to the other.
fn reaches(from: &NetworkSlot, to: &NetworkSlot) -> [bool; 3] {
    let (stream, echo) = within(&from.netns, || {
        (seen_as((to.address, WEB_PORT), SILENCE), ping(to.address))
    });
    if let Ok(seen) = &stream {
        assert_eq!(*seen, from.address, "nobody stands in between");
    }
    [stream.is_ok(), reaches_by_datagram(from, to), echo]
}

fn talk(one: &NetworkSlot, other: &NetworkSlot) -> [[bool; 3]; 2] {
    [reaches(one, other), reaches(other, one)]
}

const BOTH_WAYS: [[bool; 3]; 2] = [[true; 3]; 2];
const NEITHER_WAY: [[bool; 3]; 2] = [[false; 3]; 2];

#[test]
fn linked_sandboxes_reach_each_other_and_nobody_else_does() {
    in_world(|world| async move {
        let network = open(&world).await;
        let follower = take(&network, &spec(1, Some(3))).await;
        let stranger = take(&network, &spec(4, None)).await;
        let owner = take(&network, &spec(3, None)).await;
        let second = take(&network, &spec(2, Some(3))).await;
        assert_eq!(talk(&owner, &follower), BOTH_WAYS);
        assert_eq!(talk(&owner, &second), BOTH_WAYS);
        assert_eq!(talk(&follower, &second), NEITHER_WAY, "two followers");
        for linked in [&owner, &follower, &second] {
            assert_eq!(talk(&stranger, linked), NEITHER_WAY);
        }
        assert!(within(&follower.netns, || !is_closed((INTERNET, WEB_PORT))));
        network.detach().await;
    });
}

#[test]
fn a_link_holds_as_far_as_both_policies_allow_the_other() {
    in_world(|world| async move {
        let network = open(&world).await;
        let owner = take(&network, &spec(1, None)).await;
        let follower = take(&network, &spec(2, Some(1))).await;
        let pool = world.config().pool.to_string();
        let policies = [
            (true, &[][..], &[][..], false),
            (false, &["203.0.113.0/24"][..], &[][..], false),
            (false, &[][..], &["a.example"][..], false),
            (false, &[pool.as_str()][..], &[][..], true),
            (false, &[pool.as_str()][..], &["a.example"][..], true),
        ];
        for (block_all, networks, domains, holds) in policies {
            for (end, spec) in [(&owner, spec(1, None)), (&follower, spec(2, Some(1)))] {
                assert_eq!(talk(&owner, &follower), BOTH_WAYS, "the control");
                let narrowed = held(spec.clone(), block_all, networks, domains);
                network.set_policy(end.index, &narrowed).await.unwrap();
                network.cut(end.index).await.unwrap();
                let expected = if holds { BOTH_WAYS } else { NEITHER_WAY };
                assert_eq!(talk(&owner, &follower), expected, "{narrowed:?}");
                network.set_policy(end.index, &spec).await.unwrap();
            }
        }
        // The list that lets the two talk opens no other sandbox.
        let stranger = take(&network, &spec(4, None)).await;
        let listed = held(spec(2, Some(1)), false, &[&pool], &[]);
        network.set_policy(follower.index, &listed).await.unwrap();
        assert_eq!(talk(&follower, &stranger), NEITHER_WAY);
        assert!(within(&follower.netns, || is_closed((INTERNET, WEB_PORT))));
        network.detach().await;
    });
}

#[test]
fn a_conversation_is_cut_when_either_end_is_narrowed() {
    in_world(|world| async move {
        let network = open(&world).await;
        let owner = take(&network, &spec(1, None)).await;
        let follower = take(&network, &spec(2, Some(1))).await;
        let ends = [
            (&owner, &follower, spec(1, None)),
            (&follower, &owner, spec(2, Some(1))),
        ];
        for (narrowed, other, spec) in ends {
            for (from, to) in [(narrowed, other), (other, narrowed)] {
                let server = within(&to.netns, || {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()
                });
                let port = server.local_addr().unwrap().port();
                let mut began = within(&from.netns, || {
                    TcpStream::connect_timeout(&(to.address, port).into(), PATIENCE).unwrap()
                });
                let (mut accepted, _) = server.accept().unwrap();
                let mut passes = || {
                    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
                    began.write_all(b"x").is_ok() && accepted.read_exact(&mut [0; 1]).is_ok()
                };
                assert!(passes(), "the control");
                let blocked = held(spec.clone(), true, &[], &[]);
                network.set_policy(narrowed.index, &blocked).await.unwrap();
                assert!(passes(), "the control: a policy alone cuts nothing");
                network.cut(narrowed.index).await.unwrap();
                accepted.set_read_timeout(Some(SILENCE)).unwrap();
                let _ = began.write_all(b"x");
                assert!(accepted.read_exact(&mut [0; 1]).is_err());
                network.set_policy(narrowed.index, &spec).await.unwrap();
            }
        }
        // What is allowed still is not cut.
        let mut kept = within(&owner.netns, || {
            TcpStream::connect_timeout(&(follower.address, WEB_PORT).into(), PATIENCE).unwrap()
        });
        network.cut(owner.index).await.unwrap();
        network.cut(follower.index).await.unwrap();
        let mut text = String::new();
        kept.set_read_timeout(Some(PATIENCE)).unwrap();
        kept.read_to_string(&mut text).unwrap();
        assert_eq!(text, owner.address.to_string());
        network.detach().await;
    });
}

#[test]
fn a_link_follows_who_starts_again_and_ends_with_who_goes() {
    in_world(|world| async move {
        let network = open(&world).await;
        let take = async |spec: NetworkSpec| {
            let slot = network.take().await.unwrap();
            network.set_policy(slot.index, &spec).await.unwrap();
            slot
        };
        let talk = |one: &NetworkSlot, other: &NetworkSlot| {
            [
                reaches_by_datagram(one, other),
                reaches_by_datagram(other, one),
            ]
        };
        let owner = take(spec(1, None)).await;
        let follower = take(spec(2, Some(1))).await;
        assert_eq!(talk(&owner, &follower), [true; 2], "the control");
        let table = world.config().table;
        let peers = || run("nft", &format!("list set inet {table} peers"));
        assert!(peers().contains(&owner.host_interface), "the control");

        let (index, address) = (owner.index, owner.address.to_string());
        drop(owner);
        network.release(index);
        eventually("the entries are gone", || !peers().contains(&address)).await;
        let again = take(spec(1, None)).await;
        assert_eq!(talk(&again, &follower), [true; 2]);

        // Whoever gets the slot of one that went is linked with nobody.
        let index = follower.index;
        drop(follower);
        network.release(index);
        eventually("the entries are gone", || !peers().contains("elements")).await;
        for number in 10..14 {
            let next = take(spec(number, None)).await;
            assert_eq!(talk(&again, &next), [false; 2]);
        }
        network.detach().await;
    });
}

#[test]
fn links_stand_after_a_restart_and_after_a_flush_of_the_hosts_firewall() {
    in_world(|world| async move {
        let network = open(&world).await;
        let owner = take(&network, &spec(1, None)).await;
        let follower = take(&network, &spec(2, Some(1))).await;
        let stranger = take(&network, &spec(3, None)).await;
        network.detach().await;
        drop(network);
        let running = [
            (follower.index, spec(2, Some(1))),
            (owner.index, spec(1, None)),
            (stranger.index, spec(3, None)),
        ];
        let network = Network::open(world.config(), &running).await.unwrap();
        assert_eq!(talk(&owner, &follower), BOTH_WAYS);
        assert_eq!(talk(&owner, &stranger), NEITHER_WAY);
        run("nft", "flush ruleset");
        let table = world.config().table;
        eventually("the table is back", || {
            run("nft", "list tables").contains(&table)
        })
        .await;
        assert_eq!(talk(&owner, &follower), BOTH_WAYS);
        assert_eq!(talk(&owner, &stranger), NEITHER_WAY);
        let false_entry = format!("\"{}\" . {}", stranger.host_interface, owner.address);
        run(
            "nft",
            &format!("add element inet {table} peers {{ {false_entry} }}"),
        );
        eventually("the false entry is gone", || {
            reaches(&stranger, &owner) == [false; 3]
        })
        .await;
        network.detach().await;
    });
}

#[test]
fn a_linked_sandbox_is_found_by_name_and_by_id_and_only_by_those_that_reach_it() {
    in_world(|world| async move {
        let network = open(&world).await;
        let owner = take(&network, &spec(1, None)).await;
        let follower = take(&network, &spec(2, Some(1))).await;
        let stranger = take(&network, &spec(3, None)).await;
        let found = |from: &NetworkSlot, name: &str| {
            let answer = within(&from.netns, || ask(from.gateway, &dns_query(7, name)));
            let answer = answer.unwrap();
            let address: Option<[u8; 4]> = answer.last_chunk().copied();
            // The code, and the address where there is an answer.
            let address = address.filter(|_| answer[7] == 1);
            (answer[3] & 0x0f, address.map(Ipv4Addr::from))
        };
        let no_such_name = (3, None);
        for name in [
            format!("{}.sandbox.internal", id(2)),
            "box-2.sandbox.internal".to_owned(),
            "BOX-2.Sandbox.Internal".to_owned(),
        ] {
            assert_eq!(found(&owner, &name), (0, Some(follower.address)), "{name}");
            assert_eq!(found(&stranger, &name), no_such_name, "{name}");
            assert_eq!(found(&follower, &name), no_such_name, "oneself");
        }
        let owners = "box-1.sandbox.internal";
        assert_eq!(found(&follower, owners), (0, Some(owner.address)));
        let (code, address) = found(&follower, "x.example.org");
        assert_eq!((code, address), (0, Some(INTERNET)), "the control");
        assert_eq!(
            found(&follower, "x.sandbox.internal"),
            no_such_name,
            "asked nobody"
        );

        // Held to names, a sandbox is not linked, and held to the pool as well it is.
        let pool = world.config().pool.to_string();
        let named = held(spec(2, Some(1)), false, &[], &["a.example"]);
        network.set_policy(follower.index, &named).await.unwrap();
        assert_eq!(found(&follower, owners), no_such_name);
        let both = held(spec(2, Some(1)), false, &[&pool], &["a.example"]);
        network.set_policy(follower.index, &both).await.unwrap();
        assert_eq!(found(&follower, owners), (0, Some(owner.address)));
        network.detach().await;
    });
}
