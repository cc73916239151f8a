//! Real packets against what an operator says of the way out. Needs root, `ip` and `nft`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "network/services.rs"]
#[expect(dead_code, reason = "shared with the tests of names")]
mod services;
#[path = "network/world.rs"]
#[expect(dead_code, reason = "shared with the tests of the network itself")]
mod world;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use alcove_domain::NetworkPolicy;
use alcove_runner::net::{Network, Rate};
use alcove_runner_api::NetworkSpec;

use services::{Zone, connects, read_answer};
use world::{
    CLOSED, HOST, HOST_PORT, INTERNET, WEB_PORT, ask, dns_query, in_world, run, serve_web, within,
};

const BULK_PORT: u16 = 7100;

fn narrowed() -> NetworkSpec {
    NetworkSpec {
        version: 1,
        policy: NetworkPolicy {
            allow_networks: vec!["0.0.0.0/1".parse().unwrap(), "128.0.0.0/1".parse().unwrap()],
            ..NetworkPolicy::default()
        },
        ..NetworkSpec::default()
    }
}

#[test]
fn named_name_servers_are_asked_instead_of_the_hosts_and_the_second_when_the_first_is_silent() {
    in_world(|world| async move {
        let zone = within(&world.internet, || {
            Zone::serve(CLOSED[0], vec![("a.example", vec![HOST])])
        });
        let mut config = world.config();
        // Nobody is at the first one.
        config.dns_servers = vec![(INTERNET, 5399).into(), (CLOSED[0], 53).into()];
        let network = Network::open(config, &[]).await.unwrap();
        let slot = network.take().await.unwrap();
        network
            .set_policy(slot.index, &NetworkSpec::default())
            .await
            .unwrap();
        let query = dns_query(7, "a.example");
        let answer = within(&slot.netns, || ask(slot.gateway, &query)).unwrap();
        assert_eq!(read_answer(&query, &answer), (0, vec![HOST]));
        assert!(zone.was_asked("a.example"));
        network.detach().await;
    });
}

#[test]
fn the_proxy_is_reached_where_nobody_else_is_and_by_nobody_that_is_narrowed() {
    in_world(|world| async move {
        let private = CLOSED[0];
        let mut config = world.config();
        config.proxy = vec![
            SocketAddrV4::new(private, WEB_PORT),
            SocketAddrV4::new(HOST, 3128),
        ];
        serve_web(3128);
        let network = Network::open(config, &[]).await.unwrap();
        let (open, held) = (network.take().await.unwrap(), network.take().await.unwrap());
        network
            .set_policy(open.index, &NetworkSpec::default())
            .await
            .unwrap();
        network.set_policy(held.index, &narrowed()).await.unwrap();
        let reaches = |netns: &OwnedFd, address, port| within(netns, || connects(address, port));
        for (address, port) in [(private, WEB_PORT), (HOST, 3128)] {
            assert!(reaches(&open.netns, address, port), "{address}:{port}");
            assert!(!reaches(&held.netns, address, port), "{address}:{port}");
        }
        assert!(reaches(&held.netns, INTERNET, WEB_PORT), "the control");
        // The port next to it, and the machine next to it.
        assert!(!reaches(&open.netns, private, 53) && !reaches(&open.netns, CLOSED[1], WEB_PORT));
        assert!(connects(HOST, HOST_PORT), "the control");
        assert!(!reaches(&open.netns, HOST, HOST_PORT));
        network.detach().await;
    });
}

/// Takes all that comes, or sends without end, by the first byte that a client says.
fn serve_bulk() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, BULK_PORT)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut first, mut buffer) = ([0], vec![0; 64 << 10]);
                stream.read_exact(&mut first)?;
                if first == *b"d" {
                    while stream.write_all(&buffer).is_ok() {}
                }
                while stream.read(&mut buffer)? > 0 {}
                stream.write_all(b".")
            });
        }
    });
}

const BULK: u64 = 4 << 20;

/// How long this much takes there, and back.
fn durations(netns: &OwnedFd) -> [Duration; 2] {
    within(netns, || {
        let dial = |what: &[u8]| {
            let mut stream = std::net::TcpStream::connect((INTERNET, BULK_PORT)).unwrap();
            stream.write_all(what).unwrap();
            stream
        };
        let start = Instant::now();
        let mut stream = dial(b"u");
        let sent = std::io::copy(&mut std::io::repeat(7).take(BULK), &mut stream).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!((sent, stream.read(&mut [0]).unwrap()), (BULK, 1));
        let up = start.elapsed();
        let start = Instant::now();
        let got = std::io::copy(&mut dial(b"d").take(BULK), &mut std::io::sink()).unwrap();
        assert_eq!(got, BULK);
        [up, start.elapsed()]
    })
}

#[test]
fn a_sandbox_sends_and_gets_no_faster_than_its_part_and_its_neighbour_has_a_part_of_its_own() {
    in_world(|world| async move {
        within(&world.internet, serve_bulk);
        // 2 MB a second up and 1 MB a second down, with what a second brings at once.
        let rate = |mbit| NonZeroU32::new(mbit).map(|mbit| Rate { mbit });
        let (least_up, least_down) = (Duration::from_millis(1050), Duration::from_millis(3100));
        let mut config = world.config();
        config.upload_limit = rate(16);
        config.download_limit = rate(8);
        let network = Network::open(config, &[]).await.unwrap();
        let mut slots = Vec::new();
        for _ in 0..2 {
            let slot = network.take().await.unwrap();
            network
                .set_policy(slot.index, &NetworkSpec::default())
                .await
                .unwrap();
            slots.push(slot);
        }
        for slot in &slots {
            let [up, down] = durations(&slot.netns);
            assert!(up >= least_up && down >= least_down, "{up:?} {down:?}");
        }
        // Each is counted by itself.
        let table = world.config().table;
        for set in ["uploads", "downloads"] {
            let listed = run("nft", &format!("list set inet {table} {set}"));
            for slot in &slots {
                assert!(
                    listed.contains(&format!("\"{}\"", slot.host_interface)),
                    "{listed}"
                );
            }
        }
        // That the kernel counts is no change of the table that would have to be put back.
        let before = run("nft", &format!("-a list chain inet {table} shaped"));
        durations(&slots[0].netns);
        assert_eq!(
            run("nft", &format!("-a list chain inet {table} shaped")),
            before
        );
        network.detach().await;

        let network = Network::open(world.config(), &[]).await.unwrap();
        let rules = run("nft", &format!("list table inet {table}"));
        assert!(
            !rules.contains("limit rate"),
            "without a setting there is no limit: {rules}"
        );
        network.detach().await;
    });
}
