//! Real packets through the network of the sandboxes. Needs root, `ip` and `nft`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "network/world.rs"]
mod world;

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use alcove_runner::net::{Network, NetworkError, NetworkSlot, SlotError, SlotIndex};
use alcove_runner_api::NetworkSpec;

use world::{
    CLOSED, HOST, HOST_PORT, INTERNET, INTERNET_ROUTER, PATIENCE, SILENCE, WEB_PORT, World, ask,
    ask_by_stream, dns_query, eventually, in_world, ip, is_closed, ping, run, seen_as, within,
};

async fn open(world: &World) -> Network {
    Network::open(world.config(), &[]).await.unwrap()
}

/// A slot whose holder may reach all that anybody may.
async fn take(network: &Network) -> Result<NetworkSlot, SlotError> {
    let slot = network.take().await?;
    let open = NetworkSpec::default();
    network.set_policy(slot.index, &open).await.unwrap();
    Ok(slot)
}

/// The names of all cables that end on the host.
fn interfaces() -> String {
    let links = run("ip", "-o link show type veth");
    let names = links
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    names.collect::<Vec<_>>().join("\n")
}

/// What a close must put back as it was.
fn traces() -> [String; 4] {
    [
        interfaces(),
        run("ip", "-4 -o address show"),
        run("ip", "-4 route show table all"),
        run("nft", "list ruleset"),
    ]
}

fn end(network: &Network, slot: NetworkSlot) -> SlotIndex {
    let index = slot.index;
    drop(slot);
    network.release(index);
    index
}

#[test]
fn a_sandbox_reaches_the_internet_under_the_hosts_address() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        let seen = within(&slot.netns, || seen_as((INTERNET, WEB_PORT), PATIENCE)).unwrap();
        assert_eq!(seen, HOST);
        assert!(
            within(&slot.netns, || ping(INTERNET)),
            "ping needs no privilege"
        );
        network.detach().await;
    });
}

#[test]
fn the_very_first_packet_of_a_new_slot_arrives() {
    in_world(|world| async move {
        let mut config = world.config();
        config.ready_slots = 0;
        let network = Network::open(config, &[]).await.unwrap();
        let server = within(&world.internet, || {
            UdpSocket::bind((INTERNET, 7000)).unwrap()
        });
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..20 {
            let slot = take(&network).await.unwrap();
            within(&slot.netns, || {
                let socket = UdpSocket::bind((slot.address, 0)).unwrap();
                socket.send_to(b"first", (INTERNET, 7000)).unwrap();
            });
            assert!(server.recv(&mut [0; 16]).is_ok());
            end(&network, slot);
        }
        network.close().await.unwrap();
    });
}

#[test]
fn a_sandbox_reaches_neither_the_host_nor_private_networks() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        let gateway = network.gateway();
        for address in [gateway, HOST, Ipv4Addr::LOCALHOST] {
            assert!(
                seen_as((address, HOST_PORT), PATIENCE).is_ok(),
                "the control: {address} answers the host"
            );
            assert!(
                within(&slot.netns, || is_closed((address, HOST_PORT))),
                "{address}"
            );
        }
        assert!(
            within(&world.internet, || !is_closed((HOST, HOST_PORT))),
            "the control: others reach the host"
        );
        for address in CLOSED {
            assert!(
                seen_as((address, WEB_PORT), PATIENCE).is_ok(),
                "the control: {address} answers the host"
            );
            assert!(
                within(&slot.netns, || is_closed((address, WEB_PORT))),
                "{address}"
            );
        }
        assert!(within(&slot.netns, || ping(gateway)));
        assert!(within(&slot.netns, || !ping(HOST)));
        network.detach().await;
    });
}

#[test]
fn a_host_that_translates_addresses_does_not_open_itself() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        // As container engines do for published ports, and transparent proxies for all traffic.
        run("nft", "add table ip other");
        run(
            "nft",
            "add chain ip other pre { type nat hook prerouting priority dstnat ; }",
        );
        run(
            "nft",
            &format!(
                "add rule ip other pre ip daddr {INTERNET} tcp dport 80 redirect to :{HOST_PORT}"
            ),
        );
        run(
            "nft",
            &format!(
                "add rule ip other pre ip daddr {INTERNET} tcp dport 81 dnat to {}:{WEB_PORT}",
                CLOSED[0]
            ),
        );
        run(
            "nft",
            &format!(
                "add rule ip other pre ip daddr {INTERNET} tcp dport 82 dnat to {INTERNET}:{WEB_PORT}"
            ),
        );
        assert!(
            within(&slot.netns, || !is_closed((INTERNET, 82))),
            "the control: translation works"
        );
        assert!(within(&slot.netns, || is_closed((INTERNET, 80))));
        assert!(within(&slot.netns, || is_closed((INTERNET, 81))));
        network.detach().await;
    });
}

#[test]
fn neighbours_do_not_see_each_other() {
    in_world(|world| async move {
        let network = open(&world).await;
        let (first, second) = (take(&network).await.unwrap(), take(&network).await.unwrap());
        within(&second.netns, || world::serve_web(WEB_PORT));
        let served = (second.address, WEB_PORT);
        assert_eq!(
            seen_as(served, PATIENCE).unwrap(),
            network.gateway(),
            "the control: the host reaches it"
        );
        assert!(within(&first.netns, || is_closed(served)));
        assert!(within(&first.netns, || !ping(second.address)));
        assert!(
            within(&world.internet, || {
                ip(&format!("route add {}/32 via {HOST}", second.address));
                is_closed(served)
            }),
            "nobody outside begins a conversation with a sandbox"
        );
        network.detach().await;
    });
}

#[test]
fn a_false_source_address_does_not_get_out() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        let server = within(&world.internet, || {
            UdpSocket::bind((INTERNET, 7000)).unwrap()
        });
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let false_address = Ipv4Addr::new(10, 200, 7, 99);
        within(&slot.netns, || {
            ip(&format!("address add {false_address}/32 dev eth0"));
        });
        let send = |source: Ipv4Addr, text: &str| {
            within(&slot.netns, || {
                let socket = UdpSocket::bind((source, 0)).unwrap();
                socket.send_to(text.as_bytes(), (INTERNET, 7000)).unwrap();
            });
        };
        let receive = || {
            let mut buffer = [0; 16];
            let length = server.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        send(false_address, "false");
        send(slot.address, "true");
        assert_eq!(receive(), "true");
        // The control: it is the guard that stops it. Detached, so that nobody puts the guard back.
        network.detach().await;
        run(
            "nft",
            &format!("flush chain inet {} guard", world.config().table),
        );
        send(false_address, "false");
        assert_eq!(receive(), "false");
    });
}

#[test]
fn names_are_resolved_by_datagram_and_by_stream() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        let gateway = network.gateway();
        let query = dns_query(0xbeef, "pypi.example.org");
        let answer = within(&slot.netns, || ask(gateway, &query)).unwrap();
        assert_eq!(answer[..2], [0xbe, 0xef]);
        assert!(answer.ends_with(&INTERNET.octets()));
        let answer = within(&slot.netns, || ask_by_stream(gateway, &query)).unwrap();
        assert!(answer.ends_with(&INTERNET.octets()));
        assert!(
            within(&world.internet, || {
                ip(&format!("route add {gateway}/32 via {HOST}"));
                is_closed((gateway, 53))
            }),
            "the resolver serves sandboxes only"
        );
        network.detach().await;
    });
}

#[test]
fn a_dead_resolver_of_the_host_is_told_and_a_new_one_is_found() {
    in_world(|world| async move {
        world.set_upstreams("nameserver 198.51.100.77\n");
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        let gateway = network.gateway();
        let query = dns_query(1, "example.org");
        let answer = within(&slot.netns, || ask(gateway, &query)).unwrap();
        assert_eq!(answer[3] & 0x0f, 2, "server failure");
        world.set_upstreams(&format!(
            "nameserver 198.51.100.77\nnameserver {INTERNET_ROUTER}\n"
        ));
        eventually("the new server answers", || {
            within(&slot.netns, || ask(gateway, &query))
                .unwrap()
                .ends_with(&INTERNET.octets())
        })
        .await;
        network.detach().await;
    });
}

#[test]
fn the_firewall_comes_back_when_somebody_flushes_it() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        run("nft", "flush ruleset");
        let table = world.config().table;
        eventually("the table is back", || {
            run("nft", "list tables").contains(&table)
        })
        .await;
        assert!(within(&slot.netns, || is_closed((HOST, HOST_PORT))));
        assert!(within(&slot.netns, || !is_closed((INTERNET, WEB_PORT))));
        run("nft", &format!("flush chain inet {table} door"));
        eventually("the rules are back", || {
            run("nft", &format!("list chain inet {table} door")).contains("dport 53 jump resolver")
        })
        .await;
        network.detach().await;
    });
}

#[test]
fn nothing_is_left_after_the_close() {
    in_world(|world| async move {
        let before = traces();
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        assert_ne!(traces(), before);
        end(&network, slot);
        network.close().await.unwrap();
        assert_eq!(traces(), before);
        assert!(matches!(take(&network).await, Err(SlotError::Closed)));
    });
}

#[test]
fn a_close_with_running_sandboxes_keeps_them_walled_in() {
    in_world(|world| async move {
        let network = open(&world).await;
        let slot = take(&network).await.unwrap();
        network.close().await.unwrap();
        assert!(run("nft", "list tables").contains(&world.config().table));
        assert!(within(&slot.netns, || is_closed((HOST, HOST_PORT))));
        assert!(within(&slot.netns, || !is_closed((INTERNET, WEB_PORT))));
    });
}

#[test]
fn running_sandboxes_survive_a_restart_and_strays_do_not() {
    in_world(|world| async move {
        let network = open(&world).await;
        let kept = take(&network).await.unwrap();
        let stray = take(&network).await.unwrap();
        network.detach().await;
        drop(network);

        let gone = SlotIndex(200);
        let network = Network::open(
            world.config(),
            &[kept.index, gone].map(|index| (index, NetworkSpec::default())),
        )
        .await
        .unwrap();
        assert_eq!(network.missing(), [gone]);
        assert!(within(&kept.netns, || !is_closed((INTERNET, WEB_PORT))));
        let query = dns_query(1, "example.org");
        assert!(within(&kept.netns, || ask(kept.gateway, &query)).is_ok());
        // Its namespace is still held here, so only a removal by force explains this.
        eventually("the stray is gone", || {
            !interfaces().contains(&stray.host_interface)
        })
        .await;
        assert!(interfaces().contains(&kept.host_interface));

        let other = take(&network).await.unwrap();
        assert_ne!(other.index, kept.index);
        end(&network, other);
        end(&network, kept);
        network.close().await.unwrap();
        assert_eq!(
            interfaces().lines().count(),
            1,
            "only the uplink: {}",
            interfaces()
        );
    });
}

#[test]
fn a_full_pool_says_so_and_recovers() {
    in_world(|world| async move {
        let mut config = world.config();
        config.pool = "10.200.7.0/28".parse().unwrap();
        config.ready_slots = 0;
        let network = Network::open(config, &[]).await.unwrap();
        let mut slots = Vec::new();
        let error = loop {
            match take(&network).await {
                Ok(slot) => slots.push(slot),
                Err(error) => break error,
            }
        };
        assert_eq!(slots.len(), 13);
        assert!(matches!(error, SlotError::Full { capacity: 13 }), "{error}");
        let index = end(&network, slots.remove(5));
        eventually("the address is free", || network.counts().resting == 1).await;
        assert_eq!(take(&network).await.unwrap().index, index);
        network.detach().await;
    });
}

#[test]
fn an_address_does_not_inherit_conversations() {
    in_world(|world| async move {
        let mut config = world.config();
        config.pool = "10.200.7.0/28".parse().unwrap();
        config.ready_slots = 0;
        let network = Network::open(config, &[]).await.unwrap();
        let server = within(&world.internet, || {
            UdpSocket::bind((INTERNET, 7000)).unwrap()
        });
        let listen = |slot: &NetworkSlot| {
            within(&slot.netns, || {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5000)).unwrap();
                socket.set_read_timeout(Some(SILENCE)).unwrap();
                socket
            })
        };
        let mut buffer = [0; 16];

        let slots: Vec<NetworkSlot> = {
            let mut slots = Vec::new();
            while let Ok(slot) = take(&network).await {
                slots.push(slot);
            }
            slots
        };
        let mut slots = slots.into_iter();
        let mut converse = |slot: &NetworkSlot| {
            let talker = listen(slot);
            talker.send_to(b"hello", (INTERNET, 7000)).unwrap();
            let (_, client) = server.recv_from(&mut buffer).unwrap();
            server.send_to(b"one", client).unwrap();
            assert!(
                talker.recv(&mut buffer).is_ok(),
                "the control: answers arrive while it lives"
            );
            client
        };
        // Two end at the same time, and what they had is forgotten at once.
        let mut clients = HashMap::new();
        for slot in slots.by_ref().take(2) {
            clients.insert(slot.address, converse(&slot));
            end(&network, slot);
        }
        eventually("the addresses are free", || network.counts().resting == 2).await;
        for _ in 0..2 {
            let next = take(&network).await.unwrap();
            let client = clients.remove(&next.address).unwrap();
            let heir = listen(&next);
            server.send_to(b"two", client).unwrap();
            assert!(
                heir.recv(&mut buffer).is_err(),
                "an answer to the previous holder"
            );
        }
        network.detach().await;
    });
}

#[test]
fn a_pool_that_the_host_uses_is_refused_and_leaves_nothing() {
    in_world(|world| async move {
        ip("route add 10.200.7.128/25 dev up0");
        let before = traces();
        let error = Network::open(world.config(), &[]).await.unwrap_err();
        assert!(matches!(error, NetworkError::Host(_)));
        assert!(error.to_string().contains("network.pool"), "{error}");
        assert_eq!(traces(), before);
    });
}

#[test]
fn two_servers_on_one_host_leave_each_other_alone() {
    in_world(|world| async move {
        let first = open(&world).await;
        let mut config = alcove_runner::net::NetworkConfig::for_instance(
            b"other",
            "10.200.8.0/24".parse().unwrap(),
        );
        config.resolv_conf = world.config().resolv_conf;
        let second = Network::open(config.clone(), &[]).await.unwrap();
        let (left, right) = (take(&first).await.unwrap(), take(&second).await.unwrap());
        within(&right.netns, || world::serve_web(WEB_PORT));
        assert!(
            within(&left.netns, || is_closed((right.address, WEB_PORT))),
            "strangers are no better than neighbours"
        );
        assert!(
            within(&left.netns, || is_closed((second.gateway(), 53))),
            "the other's resolver"
        );
        end(&second, right);
        second.close().await.unwrap();
        assert!(within(&left.netns, || !is_closed((INTERNET, WEB_PORT))));

        config.pool = world.config().pool;
        let error = Network::open(config, &[]).await.unwrap_err();
        assert!(error.to_string().contains("network.pool"), "{error}");
        first.detach().await;
    });
}

#[test]
fn ready_slots_are_refilled_behind_the_taker() {
    in_world(|world| async move {
        let network = open(&world).await;
        let mut slots = Vec::new();
        for _ in 0..5 {
            eventually("slots are ready", || network.counts().ready == 2).await;
            slots.push(take(&network).await.unwrap());
        }
        let clone = world::duplicate(slots[0].netns.as_fd());
        assert_eq!(network.counts().in_use, 5);
        for slot in slots {
            end(&network, slot);
        }
        eventually("four are gone, one is held", || {
            network.counts().departing == 1
        })
        .await;
        drop(clone);
        eventually("all are gone", || network.counts().departing == 0).await;
        tokio::time::timeout(Duration::from_secs(20), network.close())
            .await
            .unwrap()
            .unwrap();
    });
}
